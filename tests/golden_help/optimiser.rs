//! The plainest writing of what happens between gradients and new weights in a DINO step: AGC, AdamW, EMA, schedules.

/// One parameter tensor on its way through training.
pub struct Trained {
    pub shape: Vec<usize>,
    pub decays: bool,
    pub values: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Trained {
    pub fn new(shape: Vec<usize>, decays: bool, values: Vec<f64>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { shape, decays, values, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// Adaptive gradient clipping by unit: a slice along the first axis, or the whole tensor where it has one axis.
    pub fn clip(&self, gradient: &mut [f64], factor: f64, eps: f64) {
        let unit = if self.shape.len() <= 1 { self.values.len() } else { self.values.len() / self.shape[0] };
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (w, g) in self.values.chunks(unit).zip(gradient.chunks_mut(unit)) {
            let (limit, length) = (factor * norm(w).max(eps), norm(g));
            if length >= limit {
                g.iter_mut().for_each(|g| *g *= limit / length.max(1e-6));
            }
        }
    }

    /// One step of AdamW with betas 0.9 and 0.999 and eps 1e-8 (torch's order of operations).
    pub fn step(&mut self, gradient: &[f64], lr: f64, weight_decay: f64) {
        self.steps += 1;
        let correction = |beta: f64| 1.0 - beta.powi(self.steps);
        let (c1, c2) = (correction(0.9), correction(0.999));
        let decay = if self.decays { 1.0 - lr * weight_decay } else { 1.0 };
        for (i, g) in gradient.iter().enumerate() {
            self.first[i] = 0.9 * self.first[i] + 0.1 * g;
            self.second[i] = 0.999 * self.second[i] + 0.001 * g * g;
            self.values[i] = self.values[i] * decay - lr / c1 * self.first[i] / ((self.second[i] / c2).sqrt() + 1e-8);
        }
    }
}

/// From `a` to `b` over `n` steps along half a cosine, after a linear warm-up from 0.
pub fn cosine(a: f64, b: f64, n: usize, step: usize, warmup: usize) -> f64 {
    if step < warmup {
        return if warmup > 1 { a * step as f64 / (warmup - 1) as f64 } else { 0.0 };
    }
    b + 0.5 * (a - b) * (1.0 + (std::f64::consts::PI * (step - warmup) as f64 / (n - warmup) as f64).cos())
}
