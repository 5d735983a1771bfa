//! Folded stacks: a call site a line, `outermost;…;innermost BYTES`.

use std::cmp::Reverse;

use super::{Profile, folded_name};
use crate::cli::StackBytes;

/// The lines, the largest first; call sites without such bytes have none.
pub(super) fn render(profile: &Profile<'_>, bytes: StackBytes) -> Vec<u8> {
    let counted = profile.samples.iter().map(|sample| (sample.bytes(bytes), sample));
    let mut counted: Vec<_> = counted.filter(|(bytes, _)| *bytes > 0).collect();
    counted.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let mut out = String::new();
    for (bytes, sample) in counted {
        let names = sample.names(profile.several);
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                out.push(';');
            }
            out.push_str(&folded_name(name));
        }
        out.push(' ');
        out.push_str(&bytes.to_string());
        out.push('\n');
    }
    out.into_bytes()
}
