//! The way into linfa's traits: parameters are checked once, then only checked parameters fit.

use linfa::ParamGuard;

use super::params::{Knn, LogisticRegression, Mistake, Svm, refuse};
use crate::diagnostic::Failure;

/// Parameters without mistakes. Only these can fit.
#[derive(Clone, Debug, PartialEq)]
#[repr(transparent)]
pub struct Checked<P>(P);

impl<P> std::ops::Deref for Checked<P> {
    type Target = P;
    fn deref(&self) -> &P {
        &self.0
    }
}

/// linfa's own errors, met only where linfa calls back into us.
impl From<linfa::Error> for Failure {
    fn from(error: linfa::Error) -> Self {
        Failure::new(error.to_string())
    }
}

macro_rules! guard {
    ($($params:ident $name:literal)+) => {$(
        impl $params {
            fn refuse_mistakes(&self) -> Result<(), Failure> {
                let mistakes: Vec<Mistake> = $params::check(self);
                refuse($name, &mistakes)
            }
        }

        impl ParamGuard for $params {
            type Checked = Checked<$params>;
            type Error = Failure;

            fn check_ref(&self) -> Result<&Checked<$params>, Failure> {
                self.refuse_mistakes()?;
                // SAFETY: `Checked` is a transparent wrapper, so both references point to the same layout.
                Ok(unsafe { &*std::ptr::from_ref(self).cast::<Checked<$params>>() })
            }

            fn check(self) -> Result<Checked<$params>, Failure> {
                self.refuse_mistakes()?;
                Ok(Checked(self))
            }
        }
    )+};
}

guard! { Svm "svm" LogisticRegression "logistic regression" Knn "k nearest neighbours" }
