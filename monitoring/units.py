"""Values as Grafana writes them, for the units that our panels have."""

_SPANS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def told(value: float, unit: str) -> str:
    """unit: Grafana's name of it; what is not known here is told as a number."""
    if unit == "s":
        return _span(value)
    if unit == "bytes":
        return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    if unit == "decbytes":
        return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB"))
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "short":
        return _scaled(value, 1000, ("", "K", "Mil", "Bil", "Tri"))
    return f"{value:.4g}"


def _span(value_s: float) -> str:
    for length_s, name in _SPANS:
        if abs(value_s) >= length_s:
            several = name in ("day", "hour") and value_s >= 2 * length_s
            return f"{_short(value_s / length_s)} {name}{'s' if several else ''}"
    return "0 s"


def _scaled(value: float, step: int, names: tuple[str, ...]) -> str:
    place = 0
    while abs(value) >= step and place < len(names) - 1:
        value, place = value / step, place + 1
    return f"{_short(value)} {names[place]}".strip()


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
