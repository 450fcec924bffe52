# The two packaged bundles, each from nothing with one command. Interrupted, the same command goes on where it stopped.
#   make phantom-bundle     a few minutes on two cores
#   make research-bundle    about an hour on two cores; needs the radiographs in $(DATA)

BUNDLE_PYTHON ?= .venv/bin/python -W ignore
DATA ?= ../shared/data
TRAIN = $(BUNDLE_PYTHON) -m training.cli train
EVALUATE = $(BUNDLE_PYTHON) -m training.cli evaluate
CALIBRATE = $(BUNDLE_PYTHON) -m calib.cli
EXPORT = $(BUNDLE_PYTHON) -m export.cli
PHANTOM_RESULTS = benchmarks/results/phantom-bundle
RESEARCH_RESULTS = benchmarks/results/research-bundle

.PHONY: phantom-bundle phantom-steps research-bundle research-steps

phantom-bundle:
	mkdir -p work/phantom $(PHANTOM_RESULTS)
	@$(MAKE) --no-print-directory -n phantom-steps > $(PHANTOM_RESULTS)/commands.txt
	$(MAKE) --no-print-directory phantom-steps

phantom-steps:
	$(BUNDLE_PYTHON) -m training.phantoms --out work/phantoms --train 400 --val 80 --test 120
	$(TRAIN) --network lungs --preset phantom --manifest work/phantoms/manifest.csv --out work/phantom/lungs
	$(TRAIN) --network classifier --preset phantom --manifest work/phantoms/manifest.csv --lungs work/phantom/lungs/best --out work/phantom/resnet18
	$(EXPORT) export --lungs work/phantom/lungs/best --member work/phantom/resnet18/best --out work/phantom/graphs/model.fp32.onnx
	$(CALIBRATE) --fp32 work/phantom/graphs/model.fp32.onnx --int8 work/phantom/graphs/model.int8.onnx --manifest work/phantoms/manifest.csv > $(PHANTOM_RESULTS)/parity.json
	$(EXPORT) assemble --recipe phantom --graphs work/phantom/graphs --lungs work/phantom/lungs/best --member work/phantom/resnet18/best --manifest work/phantoms/manifest.csv --out work/phantom/bundle
	$(EVALUATE) --manifest work/phantoms/manifest.csv --split test --bundle work/phantom/bundle --scores $(PHANTOM_RESULTS)/scores.csv > $(PHANTOM_RESULTS)/metrics.json
	$(EVALUATE) --manifest work/phantoms/manifest.csv --split test --bundle work/phantom/bundle --lung-masks > $(PHANTOM_RESULTS)/lungs.json
	cp work/phantom/lungs/log.jsonl $(PHANTOM_RESULTS)/train-lungs.jsonl
	cp work/phantom/resnet18/log.jsonl $(PHANTOM_RESULTS)/train-resnet18.jsonl
	$(EXPORT) finish work/phantom/bundle --metrics $(PHANTOM_RESULTS)/metrics.json --dice $(PHANTOM_RESULTS)/lungs.json --parity $(PHANTOM_RESULTS)/parity.json --commands $(PHANTOM_RESULTS)/commands.txt
	mkdir -p edge/bundles
	rm -rf edge/bundles/phantom
	cp -r work/phantom/bundle edge/bundles/phantom

research-bundle:
	mkdir -p work/research $(RESEARCH_RESULTS)
	@$(MAKE) --no-print-directory -n research-steps > $(RESEARCH_RESULTS)/commands.txt
	$(MAKE) --no-print-directory research-steps

research-steps:
	$(TRAIN) --network lungs --preset lungs-coarse --framing stretch --permitted-only --leave-out-refused --manifest $(DATA)/lungs.csv --out work/research/lungs-coarse
	$(TRAIN) --network lungs --preset lungs --framing stretch --permitted-only --leave-out-refused --manifest $(DATA)/lungs.csv --init work/research/lungs-coarse/best --out work/research/lungs
	$(TRAIN) --network classifier --preset scratch-coarse --framing stretch --permitted-only --labels no_finding,pneumonia --manifest $(DATA)/nih.csv --lungs work/research/lungs/best --out work/research/nih-coarse
	$(TRAIN) --network classifier --preset scratch --framing stretch --permitted-only --labels no_finding,pneumonia --manifest $(DATA)/nih.csv --lungs work/research/lungs/best --init work/research/nih-coarse/best --out work/research/nih
	$(EVALUATE) --manifest $(DATA)/nih.csv --labels no_finding,pneumonia --framing stretch --split test --shortcuts --lungs work/research/lungs/best --member work/research/nih/best > $(RESEARCH_RESULTS)/pretraining.json
	$(TRAIN) --network classifier --preset finetune --framing stretch --permitted-only --manifest $(DATA)/covid.csv --lungs work/research/lungs/best --init work/research/nih/best --out work/research/covid
	$(EXPORT) export --lungs work/research/lungs/best --member work/research/covid/best --out work/research/graphs/model.fp32.onnx
	$(CALIBRATE) --fp32 work/research/graphs/model.fp32.onnx --int8 work/research/graphs/model.int8.onnx --framing stretch --permitted-only --manifest $(DATA)/covid.csv --manifest $(DATA)/nih.csv --count 40 > $(RESEARCH_RESULTS)/parity.json
	$(EXPORT) assemble --recipe research --permitted-only --graphs work/research/graphs --lungs work/research/lungs/best --member work/research/covid/best --manifest $(DATA)/covid.csv --gate-manifest $(DATA)/nih.csv --gate-count 200 --out work/research/bundle
	$(EVALUATE) --manifest $(DATA)/covid.csv --split test_internal --split test_eurorad --split test_mhh_positive_only --split test_nih_negative_only --bundle work/research/bundle --shortcuts --scores $(RESEARCH_RESULTS)/scores.csv > $(RESEARCH_RESULTS)/metrics.json
	$(EVALUATE) --manifest $(DATA)/lungs.csv --split test --split test_external --bundle work/research/bundle --lung-masks > $(RESEARCH_RESULTS)/lungs.json
	cp work/research/lungs-coarse/log.jsonl $(RESEARCH_RESULTS)/train-lungs-coarse.jsonl
	cp work/research/lungs/log.jsonl $(RESEARCH_RESULTS)/train-lungs.jsonl
	cp work/research/nih-coarse/log.jsonl $(RESEARCH_RESULTS)/train-nih-coarse.jsonl
	cp work/research/nih/log.jsonl $(RESEARCH_RESULTS)/train-nih.jsonl
	cp work/research/covid/log.jsonl $(RESEARCH_RESULTS)/train-covid.jsonl
	$(EXPORT) finish work/research/bundle --metrics $(RESEARCH_RESULTS)/metrics.json --dice $(RESEARCH_RESULTS)/lungs.json --parity $(RESEARCH_RESULTS)/parity.json --pretraining $(RESEARCH_RESULTS)/pretraining.json --commands $(RESEARCH_RESULTS)/commands.txt
	mkdir -p edge/bundles
	rm -rf edge/bundles/research
	cp -r work/research/bundle edge/bundles/research
