//! Augmented views of pictures: two global ones, then the local ones (Caron et al. 2020, arXiv:2006.09882).

use std::cell::RefCell;

use super::contract::Views;
use super::held::{Desk, Held};
use crate::data::augment::{Recipe, Workbench, draw};
use crate::data::image::{Rgb, apply_table};
use crate::data::pixels::Files;
use crate::data::table::ImageTable;
use crate::diagnostic::Failure;
use crate::random::Stream;
use crate::stage::Monitor;

/// Random views of the pictures of a table.
///
/// What happens to a view depends on the seed, the epoch, the image's id and the view, never on order, threads or other images.
pub struct MultiCrop<'a> {
    pictures: Held<'a>,
    recipe: Recipe,
    /// One number for each image, made of its id.
    ids: Vec<u64>,
    /// How often each image comes in an epoch; once where there are none.
    weights: Vec<f64>,
    seed: u64,
    table: [[f32; 256]; 3],
}

thread_local! {
    /// Working memory of each thread: a view of 28 pixels takes less time than asking for memory would.
    static BENCH: RefCell<(Workbench, Desk)> = RefCell::default();
}

impl<'a> MultiCrop<'a> {
    /// Prepares the pictures; they are held in memory if they take at most `memory` bytes.
    pub fn new(
        images: &ImageTable,
        files: &'a dyn Files,
        recipe: Recipe,
        seed: u64,
        memory: u64,
        monitor: &dyn Monitor,
    ) -> Result<Self, Failure> {
        let pictures = Held::new(images, files, recipe.base, recipe.resize, memory, monitor)?;
        let ids = images.rows().iter().map(|row| row.id.hash()).collect();
        let table = recipe.normalise.table();
        Ok(Self { pictures, recipe, ids, weights: Vec::new(), seed, table })
    }

    /// Gives each image a weight: how often it comes in an epoch.
    pub fn weighted(self, weights: Vec<f64>) -> Self {
        Self { weights, ..self }
    }

    /// Returns how many views the recipe has.
    pub fn n_views(&self) -> usize {
        self.recipe.views.len()
    }

    /// Hands the 8-bit pixels of a view to `take`.
    pub fn with_pixels<T>(&self, image: usize, epoch: u64, view: usize, take: impl FnOnce(&Rgb) -> T) -> Result<T, Failure> {
        let Some(how) = self.recipe.views.get(view) else {
            return Err(Failure::new(format!("view number {view} of {}", self.n_views())));
        };
        BENCH.with_borrow_mut(|(bench, desk)| {
            let base = self.pictures.get(image, desk)?;
            let stream = Stream::new(self.seed, "view").at(epoch).at(self.ids[image]).at(view as u64);
            let drawn = draw(&how.steps, base.width(), base.height(), &stream);
            Ok(take(bench.view(base, how.side, &drawn, self.recipe.resampling)?))
        })
    }
}

impl Views for MultiCrop<'_> {
    fn n_images(&self) -> usize {
        self.pictures.n_images()
    }

    fn side(&self, view: usize) -> usize {
        self.recipe.views.get(view).map_or(0, |how| how.side)
    }

    fn weight(&self, image: usize) -> f64 {
        self.weights.get(image).copied().unwrap_or(1.0)
    }

    fn fill(&self, image: usize, epoch: u64, view: usize, out: &mut [f32]) -> Result<(), Failure> {
        let side = self.side(view);
        if out.len() != side * side * 3 {
            return Err(Failure::new(format!("room for {} values: view {view} has {}", out.len(), side * side * 3)));
        }
        self.with_pixels(image, epoch, view, |pixels| apply_table(&self.table, pixels.pixels(), out))
    }
}
