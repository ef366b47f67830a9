"""Lines over a logarithmic axis, as SVG."""

import math

COLOURS = {"ours": "#d62728", "haproxy": "#1f77b4", "nginx": "#2ca02c", "envoy": "#9467bd", "direct": "#999999"}
WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 240, 70, 40, 90


def nice(value):
    """The next 1, 2 or 5 with zeros."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def panel(left, title, counts, lines, logarithmic):
    values = [value for line in lines.values() for value in line]
    most = nice(max(values))
    least = min(values)
    least = 10 ** math.floor(math.log10(least)) if logarithmic else 0

    def x(index):
        return left + WIDTH * index / (len(counts) - 1)

    def y(value):
        if logarithmic:
            part = (math.log10(value) - math.log10(least)) / (math.log10(most) - math.log10(least))
        else:
            part = value / most
        return TOP + HEIGHT * (1 - part)

    if logarithmic:
        ticks = [10**power for power in range(round(math.log10(least)), math.ceil(math.log10(most)) + 1)]
        ticks = [tick for tick in ticks if tick <= most]
    else:
        ticks = [most * part / 4 for part in range(5)]
    out = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for tick in ticks:
        out.append(f'<path d="M{left} {y(tick):.1f}h{WIDTH}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.6g}</text>')
    for index, count in enumerate(counts):
        out.append(f'<text x="{x(index):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{count}</text>')
    for name, line in lines.items():
        points = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(line))
        dashed = ' stroke-dasharray="4 3"' if name == "direct" else ""
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dashed}/>')
    return out


def plot(path, counts, panels):
    """Writes panels, each a title, lines by name, and whether its axis is logarithmic, side by side."""
    width = LEFT + len(panels) * (WIDTH + GAP)
    height = TOP + HEIGHT + 70
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{width}" height="{height}" fill="white"/>']
    for turn, (title, lines, logarithmic) in enumerate(panels):
        left = LEFT + turn * (WIDTH + GAP)
        out += panel(left, title, counts, lines, logarithmic)
        out.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 36}" text-anchor="middle">connections</text>')
    for turn, name in enumerate(panels[0][1]):
        at = LEFT + turn * 90
        out.append(f'<path d="M{at} {height - 14}h18" stroke="{COLOURS[name]}" stroke-width="3"/>')
        out.append(f'<text x="{at + 23}" y="{height - 10}">{name}</text>')
    with open(path, "w") as file:
        file.write("\n".join([*out, "</svg>", ""]))
