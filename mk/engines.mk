# TensorRT plans of the full ensemble (ResNet34, ResNet50, ResNet152, VGG16, U-Net at 1024 x 1024), untrained, in fp32, fp16
# and int8, built by tensorrt-rtx without a GPU.
#   make engines            takes minutes

.PHONY: engines
engines: $(VENV)/.installed-for-tests
	$(BIN)/python -m pytest -m slow -rA tests/export/test_ensemble_plans.py
