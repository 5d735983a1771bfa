//! The bytes of a snapshot: from a file or standard input, plain or compressed, with progress for people.

use std::fs::File;
use std::io::{self, BufReader, Cursor, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// What standard input is called.
pub(super) const STDIN: &str = "-";
/// The beginning of what gzip and zstd write.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;
/// What takes less needs no progress.
const SOON: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// An opened snapshot.
pub(super) struct Input {
    pub(super) bytes: Box<dyn Read>,
    /// When the file was written last.
    pub(super) modified: Option<SystemTime>,
}

/// Opens a snapshot.
pub(super) fn open(path: &Path) -> io::Result<Input> {
    if path.as_os_str() == STDIN {
        return Ok(Input { bytes: decompressed(Box::new(io::stdin().lock()))?, modified: None });
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let reader: Box<dyn Read> = if io::stderr().is_terminal() && metadata.len() > 0 {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Box::new(Progress::new(file, name, metadata.len()))
    } else {
        Box::new(file)
    };
    Ok(Input { bytes: decompressed(reader)?, modified: metadata.modified().ok() })
}

/// Looks at the first bytes, and unpacks what is packed.
fn decompressed(mut reader: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::new();
    reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
    let is = |mark: &[u8]| magic.starts_with(mark);
    let (is_gzip, is_zstd) = (is(&GZIP), is(&ZSTD));
    let whole = Cursor::new(magic).chain(reader);
    Ok(if is_gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Tells on standard error how much of a file has been read, once that takes long.
struct Progress {
    file: File,
    name: String,
    length: u64,
    read: u64,
    started: Instant,
    told: Option<Instant>,
}

impl Progress {
    fn new(file: File, name: String, length: u64) -> Self {
        Self { file, name, length, read: 0, started: Instant::now(), told: None }
    }
}

impl Read for Progress {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        let now = Instant::now();
        let is_due = self.told.map_or(now - self.started > SOON, |told| now - told > PROGRESS_INTERVAL);
        if is_due {
            self.told = Some(now);
            let percent = (self.read as f64 / self.length as f64 * 100.0).min(100.0);
            let name = crate::output::escape::cut_middle(&self.name, 50);
            // What cannot be told is not worth failing for.
            let _ = write!(io::stderr(), "\rreading {name}: {percent:.0} %\x1b[K");
        }
        Ok(count)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rstest::rstest;

    use super::decompressed;

    fn packed(how: &str, text: &[u8]) -> Vec<u8> {
        match how {
            "gzip" => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(text).unwrap();
                packer.finish().unwrap()
            }
            "zstd" => zstd::bulk::compress(text, 1).unwrap(),
            _ => text.to_vec(),
        }
    }

    #[rstest]
    fn what_is_packed_is_unpacked(
        #[values("plain", "gzip", "zstd")] how: &str,
        #[values("", "{", "{\"snapshot\":1}")] text: &str,
    ) {
        let packed = packed(how, text.as_bytes());
        let mut unpacked = String::new();
        let reader = decompressed(Box::new(std::io::Cursor::new(packed))).unwrap();
        { reader }.read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }
}
