//! What the reader accepts, what it refuses, at which line and in which words.

use std::io::{self, BufReader, Cursor, Read};

use proptest::prelude::*;
use rstest::rstest;

use super::{Repeated, SeriesFile, read_at_most, read_series};
use crate::verdict::Samples;

fn points(samples: &Samples) -> Vec<(f64, f64)> {
    samples.times().iter().copied().zip(samples.bytes().iter().copied()).collect()
}

fn read(text: &str) -> SeriesFile {
    read_series(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refused(text: &[u8]) -> String {
    read_series(text).expect_err("is refused").in_file("a.csv")
}

#[rstest]
#[case::plain("t,bytes\n1,10\n2,20\n")]
#[case::no_last_line_feed("t,bytes\n1,10\n2,20")]
#[case::cr_lf("t,bytes\r\n1,10\r\n2,20\r\n")]
#[case::cr("t,bytes\r1,10\r2,20\r")]
#[case::byte_order_mark("\u{feff}t,bytes\n1,10\n2,20\n")]
#[case::quoted_behind_a_mark("\u{feff}\"t\",\"bytes\"\n\"1\",\"10\"\n\"2\",\"20\"\n")]
#[case::spaces(" t , bytes \n 1 ,\t10\n2, 20 \n")]
#[case::empty_lines("\n\n \t\nt,bytes\n\n1,10\r\n\r\n\n2,20\n  \n\n")]
#[case::any_order("bytes,t\n10,1\n20,2\n")]
#[case::other_columns("pid,t,comm,bytes\n7,1,x,10\n7,2,\"a, \"\"b\"\"\nc\",20\n")]
#[case::other_columns_of_any_bytes("t,bytes,note\n1,10,\n2,20,nan\n")]
#[case::numbers("t,bytes\n1.0,1e1\n+2.,0.2E2\n")]
fn every_form_of_one_series(#[case] text: &str) {
    assert_eq!(points(&read(text).samples), [(1.0, 10.0), (2.0, 20.0)]);
    assert_eq!(read(text).repeated, None);
}

#[rstest]
#[case::nothing("", "a.csv: is empty: a header t,bytes and rows of seconds and bytes are needed")]
#[case::empty_lines_only(
    "\n\r\n",
    "a.csv: is empty: a header t,bytes and rows of seconds and bytes are needed"
)]
#[case::header_only("t,bytes\n", "a.csv: has a header and no rows: add rows of seconds and bytes")]
#[case::no_header(
    "1,10\n2,20\n",
    "a.csv:1: there is no column 't': the first line is a row of numbers: put the line t,bytes before it"
)]
#[case::other_header(
    "time,rss\n1,10\n",
    "a.csv:1: there is no column 't': the first line must name the columns, as in t,bytes"
)]
#[case::half_a_header(
    "t,rss\n1,10\n",
    "a.csv:1: there is no column 'bytes': the first line must name the columns, as in t,bytes"
)]
#[case::semicolons(
    "t;bytes\n1;10\n",
    "a.csv:1: there is no column 't': columns are separated by commas, not by semicolons or tabs"
)]
#[case::twice(
    "t,bytes,t\n1,10,1\n",
    "a.csv:1: there are two columns 't': name the right one, and no other, so"
)]
#[case::no_number(
    "t,bytes\n1,10\n2,a lot\n",
    "a.csv:3: bytes is 'a lot', which is no number: write it as 1234, 12.5 or 1.2e9"
)]
#[case::escapes(
    "t,bytes\n1,\x1b[2J\n",
    "a.csv:2: bytes is '\\x1b[2J', which is no number: write it as 1234, 12.5 or 1.2e9"
)]
#[case::hexadecimal(
    "t,bytes\n0x1,10\n",
    "a.csv:2: t is '0x1', which is no number: write it as 1234, 12.5 or 1.2e9"
)]
#[case::empty_field("t,bytes\n1,10\n2,\n", "a.csv:3: bytes is empty: leave out rows without a value")]
#[case::empty_time("t,bytes\n ,10\n", "a.csv:2: t is empty: leave out rows without a value")]
#[case::nan("t,bytes\n1,10\n2,NaN\n", "a.csv:3: bytes is NaN: leave out rows without a value")]
#[case::infinite("t,bytes\n-inf,10\n", "a.csv:2: t is -inf: leave out rows without a value")]
#[case::too_large_for_a_number(
    "t,bytes\n1,1e999\n",
    "a.csv:2: bytes is 1e999: leave out rows without a value"
)]
#[case::negative(
    "t,bytes\n1,10\n\n\n2,-3\n",
    "a.csv:5: bytes is -3: no memory has less than 0 bytes; give amounts, not differences"
)]
#[case::more_than_any_memory(
    "t,bytes\n1,1e30\n",
    "a.csv:2: bytes is 1e30: no memory has as many; is it in bytes?"
)]
#[case::milliseconds(
    "t,bytes\n1763900000000,1\n",
    "a.csv:2: t is 1763900000000, too large for seconds: divide milliseconds by 1000"
)]
#[case::unsorted(
    "t,bytes\r\n1,10\r\n3,20\r\n2,30\r\n",
    "a.csv:4: t goes back from 3 to 2: sort the rows by t"
)]
#[case::short_row(
    "t,bytes\n1,10\n2\n",
    "a.csv:3: fields in this row: 1, in the header: 2; is it cut, or is a comma in a number?"
)]
#[case::decimal_comma(
    "t,bytes\n1,5,10\n",
    "a.csv:2: fields in this row: 3, in the header: 2; is it cut, or is a comma in a number?"
)]
#[case::open_quote(
    "t,bytes,note\n1,10,\"x\n2,20,y\n3,30,z\n",
    "a.csv:2: a quote is opened here and never closed: close it"
)]
#[case::behind_many_lines(
    "t,bytes,note\n1,10,\"x\ny\"\n2,20,\n3,?,\n",
    "a.csv:5: bytes is '?', which is no number: write it as 1234, 12.5 or 1.2e9"
)]
fn every_fault_has_its_line_and_its_remedy(#[case] text: &str, #[case] message: &str) {
    assert_eq!(refused(text.as_bytes()), message);
}

#[test]
fn what_is_no_text_is_refused() {
    for bytes in [&b"\x7fELF\x02\x01\x01\0\0\0\n1,2\n"[..], b"t,bytes\xff\n1,2\n", b"\xff\xfet\0,\0b\0\n\0"] {
        assert_eq!(refused(bytes), "a.csv:1: this is not text: CSV in UTF-8 is needed");
    }
    let odd = refused(b"t,bytes\n1,1\xff0\n");
    assert_eq!(odd, "a.csv:2: bytes is '1\u{fffd}0', which is no number: write it as 1234, 12.5 or 1.2e9");
    // What is ignored need not be text.
    let samples = read_series(&b"t,bytes,comm\n1,10,\xff\n"[..]).unwrap().samples;
    assert_eq!(points(&samples), [(1.0, 10.0)]);
}

#[test]
fn of_a_repeated_time_the_last_value_counts_and_it_is_told() {
    let series = read("t,bytes\n1,10\n1,11\n2,20\n3,30\n3.0,31\n3,32\n");
    assert_eq!(points(&series.samples), [(1.0, 11.0), (2.0, 20.0), (3.0, 32.0)]);
    assert_eq!(series.repeated, Some(Repeated { rows: 3, first_line: 3 }));
}

#[test]
fn a_fault_behind_good_rows_is_a_fault_also_at_the_end() {
    assert!(refused(b"t,bytes\n1,10\n2,20\n1").starts_with("a.csv:4: "));
}

#[test]
fn endless_rows_end() {
    let header = Cursor::new(b"t,bytes\n1,".to_vec());
    let error = read_series(BufReader::new(header.chain(io::repeat(b'7')))).unwrap_err();
    assert_eq!(error.in_file("a.csv"), "a.csv:2: the row is longer than 64 KiB: is this CSV?");
    let error = read_series(BufReader::new(io::repeat(b','))).unwrap_err();
    assert_eq!(error.in_file("a.csv"), "a.csv:1: the row has more than 1024 columns: keep t and bytes");
    let error = read_series(BufReader::new(io::repeat(0))).unwrap_err();
    assert_eq!(error.in_file("a.csv"), "a.csv:1: the row is longer than 64 KiB: is this CSV?");
}

#[test]
fn the_number_of_points_is_bounded() {
    let text = "t,bytes\n1,1\n2,2\n2,3\n3,3\n";
    assert_eq!(read_at_most(text.as_bytes(), 3).unwrap().samples.len(), 3);
    let error = read_at_most(text.as_bytes(), 2).unwrap_err();
    assert_eq!(error.to_string(), "line 5: more than 10000000 rows: keep every tenth");
}

/// Gives a byte at a time, an interruption between any two, and an error at its end.
struct Drips(Cursor<Vec<u8>>, bool, Option<io::ErrorKind>);

impl Read for Drips {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let end = buffer.len().min(1);
        match self.0.read(buffer.get_mut(..end).unwrap_or_default())? {
            0 => self.2.map_or(Ok(0), |kind| Err(kind.into())),
            read => Ok(read),
        }
    }
}

#[test]
fn a_slow_pipe_reads_as_a_file_does() {
    let text = "\u{feff}t,bytes,x\r\n\r\n1,10,\"a\r\n\"\r\n2,\"20\",\r\n";
    let drips = |end| BufReader::new(Drips(Cursor::new(text.into()), false, end));
    assert_eq!(read_series(drips(None)).unwrap(), read(text));
    let error = read_series(drips(Some(io::ErrorKind::ConnectionReset))).unwrap_err();
    assert_eq!((error.line, error.to_string().contains("cannot be read")), (Some(6), true));
}

fn csv() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 14] = [
        b"t,bytes\n",
        b",",
        b"\n",
        b"\r\n",
        b"\"",
        b"1",
        b"2.5",
        b"1e9",
        b"-",
        b"nan",
        b" ",
        b"\xff",
        b"\0",
        b"\xef\xbb\xbf",
    ];
    let piece = prop::sample::select(&PIECES[..]);
    let pieces = prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat());
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        pieces.clone(),
        pieces.prop_map(|rest| [&b"t,bytes\n"[..], &rest].concat()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_at_a_line_that_exists(bytes in csv()) {
        let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
        match read_series(bytes.as_slice()) {
            Ok(series) => {
                let (times, values) = (series.samples.times(), series.samples.bytes());
                prop_assert!(!times.is_empty() && times.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(values.iter().all(|bytes| bytes.is_finite() && *bytes >= 0.0));
            }
            Err(error) => prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}"),
        }
    }

    #[test]
    fn numbers_come_back_as_they_were_written(
        values in prop::collection::vec((0.001..1e6_f64, 0.0..9e18_f64), 1..200),
        end in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")],
        capacity in 1_usize..40,
    ) {
        let mut t = -5.0;
        let written: Vec<_> = values.iter().map(|&(step, bytes)| { t += step; (t, bytes) }).collect();
        let rows: Vec<_> = written.iter().map(|(t, bytes)| format!("{t},{bytes}")).collect();
        let text = format!("t,bytes{end}{}", rows.join(end));
        let series = read_series(BufReader::with_capacity(capacity, text.as_bytes())).unwrap();
        prop_assert_eq!(points(&series.samples), written);
    }
}
