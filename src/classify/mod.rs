//! Transforms, classifiers, metrics, the few-label sweep.
