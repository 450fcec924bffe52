# A box: what it needs in one folder, installed from there, upgraded, and the way back. docs/installation.md tells how.
#   make wheelhouse [WHEELHOUSE=folder] [EXTRA=tensorrt-rtx]   half a minute, with network
#   make install [WHEELHOUSE=folder] [DESTDIR=folder] [GPU=1] [START=1]
#   make rollback, make uninstall [PURGE=1]

# The box's own: a service cannot see one below /root or /home.
BOX_PYTHON ?= /usr/bin/python3
WHEELHOUSE_GIVEN := $(WHEELHOUSE)
WHEELHOUSE ?= build/wheelhouse
INSTALL = $(BOX_PYTHON) -m install
BOX_ROOT = $(if $(DESTDIR),--root "$(DESTDIR)")

.PHONY: wheelhouse install rollback uninstall lock sbom audit

wheelhouse:
	$(INSTALL) wheelhouse "$(WHEELHOUSE)" $(foreach extra,$(EXTRA),--extra $(extra))

# Without a wheelhouse of somebody's choice this checkout is what is installed.
install: $(if $(WHEELHOUSE_GIVEN),,wheelhouse)
	$(INSTALL) install --wheelhouse "$(WHEELHOUSE)" $(BOX_ROOT) $(if $(GPU),--gpu $(GPU)) $(if $(filter 1,$(START)),--start)

rollback:
	$(INSTALL) rollback $(BOX_ROOT)

uninstall:
	$(INSTALL) uninstall $(BOX_ROOT) $(if $(filter 1,$(PURGE)),--purge)

# Take newer versions: the two locks anew, then `make test`.
lock: $(VENV)/.installed-for-tests
	$(BIN)/python -m install.lock

# Known vulnerabilities of what is locked, where a database can be reached.
audit: $(VENV)/.installed-for-tests
	$(BIN)/python -m install.audit
