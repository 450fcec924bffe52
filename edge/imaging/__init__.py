"""From bytes to ModelInput: reading, DICOM's grey levels, preprocessing, and the process that does it."""
