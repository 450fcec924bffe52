"""Which licences let weights be trained on a radiograph or a mask and then be shared."""

import re

# Changed works with attribution; "none stated" and "all rights reserved" name no such licence.
_PERMITTED = re.compile(r"CC BY(-NC)?(-SA)?( \d\.\d)?\b(?!-)|NIH\b")
# However it is spelled and wherever it stands: CC BY-NC-ND, CC BY NC ND 4.0, CC BY 4.0 ND, BY-NCND, NoDerivs.
_NO_DERIVATIVES = re.compile(r"(?<![A-Z])(BY|NC|SA)*ND(?![A-Z])|DERIV", re.IGNORECASE)


def permits_sharing(licence: str) -> bool:
    """CC BY, BY-SA, BY-NC, BY-NC-SA of any version, or NIH; nothing that speaks of derivatives."""
    return _PERMITTED.match(licence) is not None and _NO_DERIVATIVES.search(licence) is None
