//! Recordings as they come back: whole, full, cut, damaged.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::ExitCode;

fn path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    (directory, path)
}

/// A recording with a flush after every `every` frames, and its bytes.
fn record(frames: &[Frame], every: usize, limit: u64) -> Vec<u8> {
    let (_directory, path) = path();
    let mut writer = Writer::create(&path, limit).unwrap();
    for (index, (kind, payload)) in frames.iter().enumerate() {
        writer.frame(*kind, payload).unwrap();
        if index % every == every - 1 {
            writer.flush().unwrap();
        }
    }
    writer.finish(Some((255, b"last"))).unwrap();
    fs::read(path).unwrap()
}

/// All frames up to the end or the first damage.
fn read(bytes: &[u8]) -> (Vec<Frame>, Result<Ending, Damage>) {
    let mut frames = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (frames, Err(error.what)),
    };
    loop {
        match reader.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(reader.ending().unwrap())),
            Err(error) => {
                assert!(reader.next().unwrap().is_none(), "nothing is read behind damage");
                return (frames, Err(error.what));
            }
        }
    }
}

fn sample() -> Vec<Frame> {
    (0..20_u8).map(|index| (index, vec![index; usize::from(index) * 3])).collect()
}

fn with_last(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.push((255, b"last".to_vec()));
    frames
}

#[test]
fn a_recording_is_private_and_replaces_only_regular_files() {
    let (directory, path) = path();
    fs::write(&path, "older").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    Writer::create(&path, 1 << 20).unwrap().finish(None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    for refused in [&link, &PathBuf::from("/dev/null"), &directory.path().to_path_buf()] {
        let failure = Writer::create(refused, 1 << 20).unwrap_err();
        assert_eq!(failure.code, ExitCode::OutputFailed);
        assert!(failure.message.contains("not a regular file"), "{}", failure.message);
    }
    assert_eq!(Reader::open(&path).unwrap().next().unwrap(), None);
}

#[test]
fn large_frames_come_back() {
    let frames = vec![(1, vec![7; 3 << 20]), (2, Vec::new()), (3, vec![9; BLOCK_TARGET])];
    assert_eq!(read(&record(&frames, 100, u64::MAX)), (with_last(frames), Ok(Ending::Complete)));

    let (_directory, path) = path();
    let mut writer = Writer::create(&path, u64::MAX).unwrap();
    assert!(writer.frame(1, &vec![0; MAX_FRAME + 1]).is_err());
    assert_eq!(writer.frame(1, b"x").unwrap(), Written::Dropped);
}

#[test]
fn a_full_recording_keeps_its_beginning_and_its_end() {
    let (_directory, path) = path();
    let limit = 200_000;
    let mut writer = Writer::create(&path, limit).unwrap();
    let mut noise = 1_u64;
    let mut outcomes = Vec::new();
    for _ in 0..100 {
        let payload: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        })
        .take(10_000)
        .collect();
        writer.frame(1, &payload).unwrap();
        outcomes.push(writer.flush().unwrap());
    }
    writer.finish(Some((255, b"last"))).unwrap();
    assert_eq!(outcomes.iter().filter(|&&outcome| outcome == Written::LimitReached).count(), 1);
    assert_eq!(outcomes.last(), Some(&Written::Dropped));
    let bytes = fs::read(path).unwrap();
    assert!(bytes.len() as u64 <= limit);
    let (frames, ending) = read(&bytes);
    assert_eq!(frames.len(), 1 + outcomes.iter().filter(|&&outcome| outcome == Written::Kept).count());
    assert_eq!((frames.last().unwrap().0, ending), (255, Ok(Ending::Full)));
}

#[test]
fn a_cut_at_any_byte_leaves_the_blocks_before_it() {
    let frames = sample();
    let bytes = record(&frames, 5, u64::MAX);
    let whole = with_last(frames);
    let mut counts = Vec::new();
    for end in 0..bytes.len() {
        let (read, ending) = read(&bytes[..end]);
        assert_eq!(read, whole[..read.len()]);
        match ending {
            Err(Damage::Magic) => assert!(end < FILE_HEADER),
            ending => assert_eq!(ending, Ok(Ending::Cut), "cut at {end}"),
        }
        counts.push(read.len());
    }
    counts.dedup();
    assert_eq!(counts, [0, 5, 10, 15, 20, 21]);
}

#[test]
fn zeros_behind_a_lost_block_are_a_cut() {
    let mut bytes = record(&sample(), 5, u64::MAX);
    bytes.truncate(bytes.len() - BLOCK_HEADER);
    bytes.extend([0; 5000]);
    assert_eq!(read(&bytes), (with_last(sample()), Ok(Ending::Cut)));
}

#[test]
fn what_is_no_recording_or_a_newer_one_is_told_in_a_sentence() {
    let (_directory, path) = path();
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Reader::open(&path).unwrap_err().message
    };
    assert!(message(b"{\"type\":\"header\"}\n").ends_with("recording: this is not a leaktrace recording"));
    let mut newer = record(&sample(), 5, u64::MAX);
    newer[8] = VERSION as u8 + 1;
    let told = message(&newer);
    assert!(
        told.ends_with("the recording has format version 4, this leaktrace reads up to 3: use a newer one")
    );
    for older in 1..VERSION {
        newer[8] = older as u8;
        fs::write(&path, &newer).unwrap();
        assert!(Reader::open(&path).is_ok(), "version {older} is not read any more");
    }
    assert_eq!(Reader::open(&path.join("missing")).unwrap_err().code, ExitCode::OutputFailed);
}

#[test]
fn lengths_that_no_writer_makes_are_refused() {
    let good = record(&[], 1, u64::MAX);
    let block = |length: u32, raw_length: u32, body: &[u8]| {
        let mut bytes = good[..FILE_HEADER].to_vec();
        for word in [length, raw_length, checksum(length, raw_length, body)] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(body);
        read(&bytes).1
    };
    assert!(matches!(block(1 << 30, 1, &[]), Err(Damage::Length(_))));
    assert!(matches!(block(1, 1 << 30, &[1]), Err(Damage::Length(_))));
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    assert!(matches!(block(bomb.len() as u32, 1000, &bomb), Err(Damage::Unpack)));
    let lies = zstd::bulk::compress(&[1, 255, 255, 255, 255], 1).unwrap();
    assert!(matches!(block(lies.len() as u32, 5, &lies), Err(Damage::Unpack)));
    let empty = zstd::bulk::compress(&[], 1).unwrap();
    assert!(matches!(block(empty.len() as u32, 0, &empty), Err(Damage::Unpack)));
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(matches!(read(&trailing).1, Err(Damage::Trailing)));
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..500)), 0..30),
        every in 1_usize..10,
    ) {
        let bytes = record(&frames, every, u64::MAX);
        prop_assert_eq!(read(&bytes), (with_last(frames), Ok(Ending::Complete)));
    }

    #[test]
    fn a_flipped_bit_gives_an_error_or_fewer_frames(position: prop::sample::Index, bit in 0..8_u8) {
        let bytes = record(&sample(), 5, u64::MAX);
        let position = position.index(bytes.len());
        let mut flipped = bytes.clone();
        flipped[position] ^= 1_u8 << bit;
        let whole = with_last(sample());
        let (frames, ending) = read(&flipped);
        prop_assert_eq!(&frames, &whole[..frames.len()]);
        // Only the four bytes that are not used yet may change unseen, and the version into that of an older one.
        let is_spare = (12..FILE_HEADER).contains(&position) || (position == 8 && flipped[8] < VERSION as u8);
        prop_assert!(is_spare || ending != Ok(Ending::Complete), "bit {} of byte {}", bit, position);
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut recording = record(&[], 1, u64::MAX)[..FILE_HEADER].to_vec();
        recording.extend(&bytes);
        prop_assert!(read(&recording).0.is_empty());
        prop_assert!(read(&bytes).0.is_empty());
    }
}

impl PartialEq for Damage {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
