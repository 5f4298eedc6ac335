//! Pictures as they are, resized: what evaluation and feature extraction look at.

use std::cell::RefCell;

use super::contract::Views;
use super::held::{Desk, Held};
use crate::data::image::{Filter, Normalisation, apply_table};
use crate::data::pixels::Files;
use crate::data::table::ImageTable;
use crate::diagnostic::Failure;
use crate::stage::Monitor;

/// The pictures of a table, resized to one side. Every view and epoch is the same.
pub struct PlainViews<'a> {
    pictures: Held<'a>,
    table: [[f32; 256]; 3],
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

impl<'a> PlainViews<'a> {
    /// Prepares the pictures; they are held in memory if they take at most `memory` bytes (0: decoded when asked for).
    pub fn new(
        images: &ImageTable,
        files: &'a dyn Files,
        side: usize,
        filter: Filter,
        normalise: Normalisation,
        memory: u64,
        monitor: &dyn Monitor,
    ) -> Result<Self, Failure> {
        Ok(Self { pictures: Held::new(images, files, side, filter, memory, monitor)?, table: normalise.table() })
    }
}

impl Views for PlainViews<'_> {
    fn n_images(&self) -> usize {
        self.pictures.n_images()
    }

    fn side(&self, _view: usize) -> usize {
        self.pictures.base()
    }

    fn fill(&self, image: usize, _epoch: u64, _view: usize, out: &mut [f32]) -> Result<(), Failure> {
        let side = self.pictures.base();
        if out.len() != side * side * 3 {
            return Err(Failure::new(format!("room for {} values: the view has {}", out.len(), side * side * 3)));
        }
        DESK.with_borrow_mut(|desk| {
            apply_table(&self.table, self.pictures.get(image, desk)?.pixels(), out);
            Ok(())
        })
    }
}
