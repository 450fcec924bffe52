# The proof that nothing is lost, and the soak. `make test` runs short forms of the proof.
#   make durability         about twenty minutes on two cores
#   make soak               ten minutes to an hour, by the disk

.PHONY: durability soak strace

durability: $(VENV)/.installed-for-tests strace
	$(BIN)/python -m benchmarks.durability proof --out benchmarks/results/durability

soak: $(VENV)/.installed-for-tests strace
	$(BIN)/python -m benchmarks.durability soak --out benchmarks/results/durability

# The proof watches and breaks system calls. Where nobody may install it, its tests skip and say so.
test: strace
strace:
	@command -v strace >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  { apt-get install -y -qq strace || { apt-get update -qq && apt-get install -y -qq strace; }; } >/dev/null 2>&1; } || \
	  echo "strace is missing: install it to run the proofs of durability" >&2
