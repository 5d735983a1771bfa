//! Names of call sites, by their ids.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::symbol::Frame;

/// The names of all call sites. Most of their frames are the same few, so each is kept once.
#[derive(Default)]
pub(super) struct Names {
    sites: HashMap<u32, SiteNames>,
    frames: HashSet<Arc<Frame>>,
}

impl Names {
    /// The names of a site become known, or known better.
    pub(super) fn insert(&mut self, site: u32, frames: &[Frame], culprit: Option<usize>) {
        let frames = frames.iter().map(|frame| shared(&mut self.frames, frame)).collect();
        self.sites.insert(site, SiteNames { frames, culprit });
    }

    pub(super) fn get(&self, site: u32) -> Option<&SiteNames> {
        self.sites.get(&site)
    }

    /// All sites whose names are known.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &SiteNames)> {
        self.sites.iter().map(|(&site, names)| (site, names))
    }

    pub(super) fn contains(&self, site: u32) -> bool {
        self.sites.contains_key(&site)
    }
}

fn shared(known: &mut HashSet<Arc<Frame>>, frame: &Frame) -> Arc<Frame> {
    if let Some(known) = known.get(frame) {
        return Arc::clone(known);
    }
    let frame = Arc::new(frame.clone());
    known.insert(Arc::clone(&frame));
    frame
}

/// Names of one site.
pub(super) struct SiteNames {
    /// Innermost first.
    frames: Vec<Arc<Frame>>,
    culprit: Option<usize>,
}

impl SiteNames {
    /// The stack as a record has it.
    pub(super) fn stack(&self) -> Vec<Frame> {
        self.frames().cloned().collect()
    }

    /// All frames, innermost first.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().map(|frame| &**frame)
    }

    /// The frames from the culprit outwards.
    pub(super) fn outwards(&self) -> &[Arc<Frame>] {
        self.frames.get(self.culprit.unwrap_or(0)..).unwrap_or_default()
    }

    /// The innermost function that is not the allocator's own.
    pub(super) fn function(&self) -> Option<String> {
        self.culprit()?.function.clone()
    }

    /// The frame of the innermost function that is not the allocator's own.
    pub(super) fn culprit(&self) -> Option<&Frame> {
        self.outwards().first().map(|frame| &**frame)
    }
}
