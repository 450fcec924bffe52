# What the tests need from Debian: systemd, whose checks need no running systemd, Prometheus and Alertmanager, strace.
# Where nobody may install them their tests skip and say so.
.PHONY: tools
test: tools
tools:
	@sh mk/debian-packages.sh systemd prometheus prometheus-alertmanager strace
