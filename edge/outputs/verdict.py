"""The answer of a report in a few words, as people read it. A network's raw output is no probability: where it was not
shown to be one, they read above or below the operating point, and the number only where there is no such point.
"""

from edge.values import Report


def verdict(report: Report) -> str:
    if report.prediction is None:
        return f"not scored: {report.reason}"
    if report.positive is None:
        return f"score {report.prediction.score:.3f}, no operating point"
    side = "above" if report.positive else "below"
    if report.prediction.calibrated:
        return f"probability {report.prediction.score:.3f}, {side} the operating point"
    return f"{side} the operating point"
