//! Folded stacks: a call site a line, `outermost;…;innermost BYTES`.

use super::{Profile, folded_name};
use crate::cli::StackBytes;

/// The lines; call sites without such bytes have none.
pub(super) fn render(profile: &Profile<'_>, bytes: StackBytes) -> Vec<u8> {
    let mut out = String::new();
    for sample in &profile.samples {
        let bytes = sample.bytes(bytes);
        if bytes == 0 {
            continue;
        }
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
