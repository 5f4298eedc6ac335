//! What a training loop asks of the data: the pixels of one view of one image.
//!
//! Unaware of files, augmentations and networks; implemented by whoever holds the pictures.

use crate::diagnostic::Failure;

/// A set of images of which a training loop can ask any view, in any order, from any thread.
pub trait Views: Sync {
    /// Returns how many images there are.
    fn n_images(&self) -> usize;

    /// Returns the side of the square view number `view`, in pixels.
    fn side(&self, view: usize) -> usize;

    /// Returns how often the image comes in an epoch: 1 once, 0.25 once in four epochs, 2 twice in each. Always above 0.
    fn weight(&self, image: usize) -> f64 {
        let _ = image;
        1.0
    }

    /// Writes view number `view` of image `image` into `out`, as it looks in epoch `epoch`: for a weighted image, when it comes for that time.
    ///
    /// `out` holds `side * side * 3` values, row by row, RGB interleaved, already scaled as the network expects.
    /// The same arguments always give the same bits.
    fn fill(&self, image: usize, epoch: u64, view: usize, out: &mut [f32]) -> Result<(), Failure>;
}
