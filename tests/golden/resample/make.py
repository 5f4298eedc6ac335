"""The two-way bootstrap of src/classify/resample.rs, written down as matrices: prints what its test expects."""
import numpy as np

rng = np.random.default_rng(0)
sizes, B = [40, 12, 3], 200_000
stretch = lambda n: np.sqrt(n / (n - 1)) if n > 1 else 1.0
print(np.__version__)
for draws in [1, 3, 8]:
    r, i = np.arange(draws)[:, None], np.arange(sum(sizes))[None, :]
    right = ((7 * r + 3 * i * i + r * i) % 11 < 6).astype(float)
    values, start = np.zeros((B, draws)), 0
    for m in sizes:
        w = 1 + (rng.multinomial(m, np.full(m, 1 / m), size=B) - 1) * stretch(m)
        values += w @ right[:, start : start + m].T / m / len(sizes)
        start += m
    w = 1 + (rng.multinomial(draws, np.full(draws, 1 / draws), size=B) - 1) * stretch(draws)
    t = np.clip((w * values).mean(1), 0, 1)
    print(draws, *np.round(np.quantile(t, [0.025, 0.975]), 4))
