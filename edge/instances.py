"""What a SOPInstanceUID that was seen before means: the same radiograph again, or another that took its name."""

from edge.pipeline import Pipeline
from edge.store import Ledger
from edge.values import Reason, Report, Source


def same_instance(pipeline: Pipeline, ledger: Ledger, source: Source) -> Report | None:
    """The refusal of a radiograph whose SOPInstanceUID has a result already; None when it is new."""
    if source.instance_key is None:
        return None
    earlier = ledger.earlier_instance(source.instance_key, without=source.sha256)
    if earlier is None:
        return None
    if earlier.pixels_sha256 == source.pixels_sha256:
        detail = f"the same radiograph has its result as case {earlier.case_id}"
        return pipeline.refuse_source(source, Reason.DUPLICATE, detail)
    detail = (
        f"case {earlier.case_id} has the same SOPInstanceUID and other pixels; "
        "find out which is right and send it with a UID of its own"
    )
    return pipeline.refuse_source(source, Reason.CONFLICT, detail)
