//! Who keeps the pieces of a running node: opens scopes in the store under the node's kind and version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::diagnostic::Failure;
use crate::digest::Digest;
use crate::graph::Key;
use crate::stage::{Device, Keeper, Monitor, Pieces};
use crate::store::{Scope, Store};

/// The scopes that one node has opened.
pub(super) struct Cupboard {
    store: Arc<Store>,
    /// What belongs to every scope of this node.
    stage: Value,
    /// Whether what is kept must be made again.
    anew: bool,
    monitor: Arc<dyn Monitor>,
    open: Mutex<BTreeMap<Digest, Arc<Scope>>>,
}

impl Cupboard {
    /// Begins with no scope open.
    pub fn new(store: Arc<Store>, key: &Key, device: &Device, anew: bool, monitor: Arc<dyn Monitor>) -> Self {
        // Pieces of a processor and of a GPU are not mixed: they differ in their last bits.
        let device = match device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal => "metal",
        };
        let stage = json!({"kind": key.kind, "version": key.version, "device": device});
        Self { store, stage, anew, monitor, open: Mutex::default() }
    }

    /// Writes down all that the stage has put, and returns the scopes it opened.
    pub fn close(&self) -> BTreeSet<Digest> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().for_each(|scope| scope.flush());
        open.keys().copied().collect()
    }
}

impl Keeper for Cupboard {
    fn pieces(&self, scope: &Value) -> Result<Arc<dyn Pieces>, Failure> {
        let digest = Digest::of_json(&json!({"stage": self.stage, "scope": scope}));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = open.get(&digest) {
            return Ok(scope.clone());
        }
        let scope = Arc::new(Scope::open(self.store.clone(), digest, self.anew, self.monitor.clone())?);
        open.insert(digest, scope.clone());
        Ok(scope)
    }
}
