"""Prints docs/metrics.md, the table of every column of per_subject.csv: `python docs/metrics.py > docs/metrics.md`."""

from volumetric.metrics.downstream import definitions

print("# Metrics\n")
print("Every column of numbers in `per_subject.csv`, as `volumetric/metrics/` defines it; `definitions.json` says the")
print(
    "same beside every evaluation. t is the truth and p the prediction, both in reference units (each subject's median"
)
print("in the brain is 1), e = p - t, R the data range. This page is made by `python docs/metrics.py`.\n")
print("| column | name | unit | better | formula | source |")
print("|---|---|---|---|---|---|")
for name, about in definitions().items():
    cells = [
        f"`{name}`",
        *(str(about[key]).replace("|", "\\|") for key in ("label", "unit", "better", "formula", "source")),
    ]
    print(f"| {' | '.join(cells)} |")
