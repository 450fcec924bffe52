"""Imports now whatever decoding would import late: a confined process can open no file any more."""

import encodings
import importlib
import pkgutil
import warnings

import imagecodecs
import tifffile

import edge.imaging.read  # noqa: F401  and all that it imports, pydicom's decoders among it
from edge.imaging.tiff import COMPRESSIONS

_LATE = ("numpy.ma",)  # by numpy, when arrays are first compared
_PREDICTORS = (1, 2)  # of TIFF: none, horizontal
# imagecodecs loads an extension when one of its functions is first asked for.
_CODECS = ("jpeg8_decode", "jpegls_decode", "packbits_decode", "bitorder_decode")


def preload() -> None:
    """Takes some 0.05 s beyond the imports of read.py."""
    for name in _LATE:
        importlib.import_module(name)
    for name in _CODECS:
        getattr(imagecodecs, name)
    for compression in COMPRESSIONS:
        tifffile.TIFF.DECOMPRESSORS[compression]
    for predictor in _PREDICTORS:
        tifffile.TIFF.UNPREDICTORS[predictor]
    _load_text_codecs()


def _load_text_codecs() -> None:
    """All that Python has: SpecificCharacterSet may name any, and a patient's key must not depend on confinement."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.iter_modules(encodings.__path__):
            try:
                "".encode(module.name)
            except (LookupError, UnicodeError, ImportError):  # of another platform, or not for text
                continue
