//! How much memory a DINO training takes, counted from its shapes before it starts, and which setting takes less.

use crate::diagnostic::Failure;
use crate::model::{HeadSizes, Keeps, Sizes, head_numbers, pass_numbers};

/// What decides how much memory a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Images per step.
    pub batch: usize,
    /// Parts in which they pass the networks.
    pub accumulate: usize,
    pub checkpoint_blocks: bool,
    pub global_side: usize,
    pub local_side: usize,
    pub n_local: usize,
    /// Steps whose views are in memory at a time: one trained on, one waiting, one being made.
    pub steps_of_views: usize,
}

/// Bytes by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Student, teacher, two moments and the gradient.
    pub weights: u64,
    /// What the passes of both networks keep.
    pub activations: u64,
    /// What the heads keep: most of it rows × prototypes.
    pub heads: u64,
    pub views: u64,
    /// An eighth of all that for what is not counted: packed panels of products, small buffers, what the allocator keeps for later.
    /// Peaks that were measured lie between the counted parts and a fifth above them.
    pub rest: u64,
}

impl Footprint {
    /// Counts a training.
    pub fn of(sizes: &Sizes, head: &HeadSizes, setting: &Setting) -> Self {
        let part = setting.batch.div_ceil(setting.accumulate.max(1));
        let backbone = sizes.layout();
        let weights = 5 * (backbone.n_params() + head.layout().n_params()) + 2 * backbone.n_buffers();
        let student = if setting.checkpoint_blocks { Keeps::Inputs } else { Keeps::All };
        let pass = |views: usize, side: usize, keeps| if views == 0 { 0 } else { pass_numbers(sizes, views * part, side, keeps) };
        let activations = pass(2, setting.global_side, Keeps::Nothing)
            + pass(2, setting.global_side, student)
            + pass(setting.n_local, setting.local_side, student);
        let heads = head_numbers(head, (2 + setting.n_local) * part) + head_numbers(head, 2 * part) + 4 * head.outputs;
        let pixels = 3 * (2 * setting.global_side.pow(2) + setting.n_local * setting.local_side.pow(2));
        let bytes = |numbers: usize| 4 * numbers as u64;
        let (weights, activations, heads) = (bytes(weights), bytes(activations), bytes(heads));
        let views = bytes(setting.steps_of_views * setting.batch * pixels);
        Self { weights, activations, heads, views, rest: (weights + activations + heads + views) / 8 }
    }

    /// Returns the bytes of all parts.
    pub fn total(&self) -> u64 {
        self.weights + self.activations + self.heads + self.views + self.rest
    }

    /// Says what it comes to: "about 5.3 GiB (weights and moments 0.9 GiB, ..)".
    pub fn words(&self) -> String {
        let Self { weights, activations, heads, views, rest } = *self;
        let parts =
            [("weights, moments and gradients", weights), ("activations", activations), ("heads", heads), ("views", views), ("rest", rest)];
        let parts: Vec<String> = parts.iter().map(|(what, bytes)| format!("{what} {}", size(*bytes))).collect();
        format!("about {} ({})", size(self.total()), parts.join(", "))
    }
}

/// "870 MiB", "5.3 GiB".
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// Returns the setting that changes least and fits into so many bytes: blocks computed again, which changes no bit; else more parts; else
/// both.
fn fitting(sizes: &Sizes, head: &HeadSizes, setting: &Setting, bytes: u64) -> Option<Setting> {
    let fits = |wanted: &Setting| Footprint::of(sizes, head, wanted).total() <= bytes;
    // At least two images in each part: batch norm needs company.
    let parts = setting.accumulate..=(setting.batch / 2).max(1);
    let more = |checkpoint_blocks| parts.clone().map(move |accumulate| Setting { accumulate, checkpoint_blocks, ..*setting });
    let again = Setting { checkpoint_blocks: true, ..*setting };
    std::iter::once(again).chain(more(setting.checkpoint_blocks)).chain(more(true)).find(fits)
}

/// Refuses a training that does not fit into so many bytes, and says which would.
pub fn refuse_too_large(sizes: &Sizes, head: &HeadSizes, setting: &Setting, bytes: u64) -> Result<(), Failure> {
    let needed = Footprint::of(sizes, head, setting);
    if needed.total() <= bytes {
        return Ok(());
    }
    let refused = Failure::new(format!("the training needs {}, but {} are free", needed.words(), size(bytes)));
    Err(match fitting(sizes, head, setting, bytes) {
        Some(other) => {
            let mut changes = Vec::new();
            if other.checkpoint_blocks != setting.checkpoint_blocks {
                changes.push("`checkpoint_blocks: true`".to_string());
            }
            if other.accumulate != setting.accumulate {
                changes.push(format!("`accumulate: {}`", other.accumulate));
            }
            let total = size(Footprint::of(sizes, head, &other).total());
            refused.help(format!("{} needs about {total}", changes.join(" with ")))
        }
        None => refused.help("choose a smaller `backbone`, smaller views in `augment`, or fewer `outputs`: no split of the batch fits"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Xcit;

    fn paper(batch: usize) -> (Sizes, HeadSizes, Setting) {
        let sizes = Xcit::named("small_12_p8").sizes().unwrap();
        let head = HeadSizes { dim: sizes.dim(), hidden: 2048, bottleneck: 256, outputs: 65_536, layers: 3 };
        let views =
            Setting { batch, accumulate: 1, checkpoint_blocks: false, global_side: 256, local_side: 96, n_local: 5, steps_of_views: 3 };
        (sizes, head, views)
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_fits() {
        let (sizes, head, setting) = paper(256);
        let whole = Footprint::of(&sizes, &head, &setting).total();
        assert!(refuse_too_large(&sizes, &head, &setting, whole).is_ok());
        let way_out = |bytes: u64| refuse_too_large(&sizes, &head, &setting, bytes).unwrap_err().way_out().unwrap().to_string();
        assert!(way_out(whole - 1).starts_with("`checkpoint_blocks: true` needs about "), "{}", way_out(whole - 1));
        // 16 GiB: what the paper's batch needs on a workstation.
        assert!(way_out(16 << 30).starts_with("`accumulate: "), "{}", way_out(16 << 30));
        let both = way_out(4 << 30);
        assert!(both.contains("`accumulate: ") && both.contains(" needs about "), "{both}");
        assert!(way_out(1 << 20).starts_with("choose a smaller `backbone`"));
    }

    #[test]
    fn parts_and_blocks_computed_again_take_less() {
        let (sizes, head, setting) = paper(16);
        let activations = |setting: Setting| Footprint::of(&sizes, &head, &setting).activations as f64;
        let whole = activations(setting);
        assert!(activations(Setting { accumulate: 4, ..setting }) < 0.3 * whole);
        assert!(activations(Setting { checkpoint_blocks: true, ..setting }) < 0.4 * whole);
    }
}
