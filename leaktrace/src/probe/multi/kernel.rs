//! The two calls to the kernel that aya 0.14 does not make: loading a program for uprobe_multi links, and making one.

use std::{
    ffi::{CStr, CString},
    io, mem,
    num::NonZeroU32,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type::BPF_TRACE_UPROBE_MULTI, bpf_attr, bpf_cmd, bpf_insn,
    bpf_prog_type::BPF_PROG_TYPE_KPROBE,
};

/// How a program is run by the probes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At an instruction.
    There,
    /// At the return of a function that begins there.
    AtReturn,
    /// At both: a session.
    AtBoth,
}

impl When {
    /// The attach type, which the program and its links must share.
    const fn attach_type(self) -> u32 {
        /// `BPF_TRACE_UPROBE_SESSION`, which aya-obj 0.3 does not know.
        const SESSION: u32 = 57;
        match self {
            Self::There | Self::AtReturn => BPF_TRACE_UPROBE_MULTI as u32,
            Self::AtBoth => SESSION,
        }
    }
}

/// A description of the types of functions, which the kernel wants where one of them is called back.
pub(super) struct Types<'a> {
    pub(super) btf: BorrowedFd<'a>,
    /// `bpf_func_info` records, and the size of one.
    pub(super) functions: Vec<u8>,
    pub(super) record_size: usize,
}

/// A descriptor of the type information with this id.
pub(super) fn types_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
    bpf(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr)
}

/// Loads relocated instructions as a program for uprobe_multi links.
pub(super) fn load_program(
    name: &str,
    instructions: &[bpf_insn],
    license: &CStr,
    types: &Types<'_>,
    runs: When,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    let load = prog_load(&mut attr);
    load.prog_type = BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = runs.attach_type();
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = license.as_ptr() as u64;
    let functions = types.functions.len().checked_div(types.record_size).unwrap_or(0);
    if functions > 0 {
        load.prog_btf_fd = types.btf.as_raw_fd().cast_unsigned();
        load.func_info = types.functions.as_ptr() as u64;
        load.func_info_cnt = u32::try_from(functions).map_err(io::Error::other)?;
        load.func_info_rec_size = u32::try_from(types.record_size).map_err(io::Error::other)?;
    }
    // Cut to what the kernel keeps of it, with the zero at its end.
    let room = load.prog_name.len() - 1;
    for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from.cast_signed();
    }
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Puts a program on instructions of a file, in one process and whoever joins its threads: a cookie for each offset.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    path: &Path,
    (offsets, cookies): (&[u64], &[u64]),
    runs: When,
    pid: NonZeroU32,
) -> io::Result<OwnedFd> {
    debug_assert_eq!(offsets.len(), cookies.len());
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    // SAFETY: every bit pattern is valid for the integers of this union, which is zeroed.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    link.attach_type = runs.attach_type();
    // SAFETY: as above.
    let multi = unsafe { &mut link.__bindgen_anon_3.uprobe_multi };
    multi.path = path.as_ptr() as u64;
    multi.offsets = offsets.as_ptr() as u64;
    multi.cookies = cookies.as_ptr() as u64;
    multi.cnt = u32::try_from(offsets.len().min(cookies.len())).map_err(io::Error::other)?;
    multi.flags = if runs == When::AtReturn { BPF_F_UPROBE_MULTI_RETURN } else { 0 };
    multi.pid = pid.get();
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

fn prog_load(attr: &mut bpf_attr) -> &mut aya_obj::generated::bpf_attr__bindgen_ty_4 {
    // SAFETY: every bit pattern is valid for the integers of this union, which is zeroed.
    unsafe { &mut attr.__bindgen_anon_3 }
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers, for which zero is a value; the kernel wants unused bytes to be zero.
    unsafe { mem::zeroed() }
}

/// A call that gives back a file descriptor.
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is as large as we say, and what its pointers point to outlives the call: both callers borrow it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
