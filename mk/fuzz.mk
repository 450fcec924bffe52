# The proof that no file can hurt the box. `make test` runs short forms of it. Broken off, each goes on where it was.
#   make fuzz               1,000,000 files through decode workers, 20,000 through the daemon: about forty minutes on two cores
#   make fuzz-guided        ten minutes that follow coverage; needs atheris, which the extra `fuzz` installs

.PHONY: fuzz fuzz-guided

fuzz: $(VENV)/.installed-for-tests
	$(BIN)/python -m benchmarks.fuzz workers --count 1000000
	$(BIN)/python -m benchmarks.fuzz box --count 20000

fuzz-guided: $(VENV)/.installed-for-tests
	$(BIN)/python -m benchmarks.fuzz guided --minutes 10
