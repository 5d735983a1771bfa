//! The life of traced processes: fork, exec, exit, and changes of what the dynamic linker has loaded.

use aya_ebpf::{
    bindings::bpf_pidns_info,
    helpers::{bpf_get_current_pid_tgid, bpf_get_ns_current_pid_tgid, bpf_ktime_get_ns},
    macros::{raw_tracepoint, uprobe},
    programs::{ProbeContext, RawTracePointContext},
};
use aya_log_ebpf::info;
use leaktrace_common::{Header, Kind, LifecycleRecord, Loss};

use crate::{
    copy, emit,
    maps::{CALLS, MAPPING_CALLS, MEASURES, TARGETS},
    registers::Hit,
    settings::{INITIAL_PID_NAMESPACE, MAPPINGS, PID_NAMESPACE_DEV, PID_NAMESPACE_INO},
};

/// Process and thread id of the current task, as the loader sees them.
#[inline(always)]
fn current() -> Option<(u32, u32)> {
    if INITIAL_PID_NAMESPACE.load() == 1 {
        let ids = bpf_get_current_pid_tgid();
        return Some(((ids >> 32) as u32, ids as u32));
    }
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: the helper fills `ids`, whose size it is told.
    let result = unsafe {
        bpf_get_ns_current_pid_tgid(
            PID_NAMESPACE_DEV.load(),
            PID_NAMESPACE_INO.load(),
            &raw mut ids,
            size_of::<bpf_pidns_info>() as u32,
        )
    };
    (result == 0).then_some((ids.tgid, ids.pid))
}

/// Sends a record about the current task, if its process is traced.
#[inline(always)]
fn announce(kind: Kind) -> Option<u32> {
    let (pid, tid) = current()?;
    // SAFETY: the value is read once; a concurrent removal only makes us announce a process that is going.
    let process = unsafe { TARGETS.get(&pid) }.copied()?;
    let header = Header {
        kind: kind as u8,
        function: 0,
        process: process as u16,
        tid: bpf_get_current_pid_tgid() as u32,
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_ns() },
    };
    if matches!(kind, Kind::Exec) {
        copy::code_changes(header.process);
    }
    emit::send(LifecycleRecord { header, pid, tid }, Loss::RingFullLifecycle);
    Some(pid)
}

/// Whatever call the current thread was in will not return.
#[inline(always)]
fn forget_calls() {
    let thread = bpf_get_current_pid_tgid();
    let _ = CALLS.remove(&thread);
    let _ = MEASURES.remove(&thread);
    if MAPPINGS.load() == 1 {
        let _ = MAPPING_CALLS.remove(&thread);
    }
}

/// A task made a child; in `sched_process_fork` the current task is the parent.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(_ctx: RawTracePointContext) -> i32 {
    announce(Kind::Fork);
    0
}

/// A process replaced its image. Calls that were under way in the old one will not return.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    forget_calls();
    if let Some(pid) = announce(Kind::Exec) {
        info!(&ctx, "process {} replaced its image", pid);
    }
    0
}

/// A task ends. Its slot goes with it, whoever it was: ids come round again.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn task_exit(_ctx: RawTracePointContext) -> i32 {
    forget_calls();
    announce(Kind::Exit);
    0
}

/// The dynamic linker's `_dl_debug_state`, which it calls for debuggers whenever its list of objects changed.
#[uprobe]
pub fn objects_changed(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let (pid, tid) = current().unwrap_or((0, 0));
    copy::code_changes(hit.cookie.process);
    let header = emit::header(Kind::ObjectsChanged, &hit);
    emit::send(LifecycleRecord { header, pid, tid }, Loss::RingFullLifecycle);
}
