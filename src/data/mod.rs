//! Images, labels, splits and augmentation.

mod views;

pub use views::Views;
