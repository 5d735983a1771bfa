//! What a verdict record says beside the judgement: the stack with its names.

use crate::{
    output::verdict::{SubjectKind, VerdictRecord},
    session::names::{Names, SiteNames},
    session::traced::{Traced, stack_of},
};

/// Whether all is known of a site's stack that will be: also where there is no stack, or nobody left to ask.
pub(super) fn is_named(site: u32, traced: Option<&Traced>, names: &Names) -> bool {
    let has_frames = || {
        let site = traced.filter(|traced| !traced.gone).and_then(|traced| traced.tracker.site(site));
        site.is_some_and(|site| !site.frames().is_empty())
    };
    names.contains(site) || !has_frames()
}

/// The record with its stack, by name where names are known, else by address.
pub(super) fn with_stack(mut record: VerdictRecord, traced: Option<&Traced>, names: &Names) -> VerdictRecord {
    let id = record.subject.id.and_then(|id| u32::try_from(id).ok());
    let Some(id) = id.filter(|_| record.subject.kind == SubjectKind::Site) else { return record };
    record.culprit = names.get(id).and_then(SiteNames::culprit).cloned();
    record.stack = Some(stack_of(traced, id, names));
    record
}
