//! `longwire explain`: reads records, and says what the ends of sessions have in common.

mod account;

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::bufread::GzDecoder;
use jiff::Timestamp;

pub use self::account::EndAccount;
use crate::explain::{EndCounts, Evidence, record};

/// The longest line that is read. A record is shorter.
const LONGEST_LINE: u64 = 1 << 20;
/// How much of a file is read at once.
const PIECE: usize = 1 << 18;
/// The first bytes of a file in gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Which records are read.
#[derive(Debug)]
pub struct ExplainOptions {
    /// The files, in any order; none = standard input.
    pub files: Vec<PathBuf>,
    /// Only what ended at this moment or later.
    pub since: Option<Timestamp>,
    /// Only what was on this route.
    pub route: Option<String>,
}

/// A file of records that cannot be read.
#[derive(Debug)]
pub struct UnreadableRecords {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for UnreadableRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}: {}", self.path.display(), self.source)
    }
}

impl Error for UnreadableRecords {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// The moment `ago` before `now`.
#[must_use]
pub fn moment_before(now: Timestamp, ago: Duration) -> Timestamp {
    now.checked_sub(ago).unwrap_or(Timestamp::MIN)
}

/// Reads all records, and looks for what they have in common.
///
/// # Errors
/// The first file that cannot be read, or not to its end.
pub fn run(options: &ExplainOptions) -> Result<EndAccount, UnreadableRecords> {
    let mut reading = Reading::new(options);
    let standard_input = [PathBuf::from(STANDARD_INPUT)];
    let files = if options.files.is_empty() { &standard_input[..] } else { &options.files };
    for path in files {
        let read = open(path).and_then(|input| reading.read(input));
        read.map_err(|source| UnreadableRecords { path: path.clone(), source })?;
    }
    Ok(reading.account())
}

/// The bytes of a file, unpacked.
fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let input: Box<dyn Read> =
        if path == Path::new(STANDARD_INPUT) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut input = BufReader::with_capacity(PIECE, input);
    if input.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(PIECE, Members(Some(GzDecoder::new(input))))));
    }
    Ok(Box::new(input))
}

/// The members of a file in gzip, one after another. Zeros may follow the last one, as tapes and copies of blocks leave them.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.0 = self.0.take().map(GzDecoder::into_inner).map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// What follows a member, if that is another one.
fn next_member<R: BufRead>(mut input: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let piece = input.fill_buf()?;
        let (zeros, whole) = (piece.iter().take_while(|byte| **byte == 0).count(), piece.len());
        input.consume(zeros);
        if whole == 0 {
            return Ok(None);
        }
        if zeros < whole {
            return Ok(Some(GzDecoder::new(input)));
        }
    }
}

/// The records that have been read so far.
struct Reading<'o> {
    options: &'o ExplainOptions,
    evidence: Evidence,
    ended: EndCounts,
    records: u64,
    skipped: u64,
    /// A line of the text form, put into JSON.
    scratch: String,
}

impl<'o> Reading<'o> {
    fn new(options: &'o ExplainOptions) -> Self {
        let (evidence, ended) = (Evidence::new(Evidence::MOST), EndCounts::default());
        Self { options, evidence, ended, records: 0, skipped: 0, scratch: String::new() }
    }

    fn read(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE {
                input.skip_until(b'\n')?;
                line.clear();
                self.skipped += 1;
            } else if !line.trim_ascii().is_empty() {
                self.add(&line);
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        let Ok(record) = record::read(line, &mut self.scratch) else {
            self.skipped += 1;
            return;
        };
        let ExplainOptions { since, route, .. } = self.options;
        let is_late = since.is_none_or(|since| record.ended() >= since.as_millisecond());
        if is_late && (route.is_none() || record.route.as_deref() == route.as_deref()) {
            self.records += 1;
            self.ended.add(&record);
            self.evidence.add(&record);
        }
    }

    fn account(self) -> EndAccount {
        let Self { evidence, ended, records, skipped, .. } = self;
        let forgotten = records - evidence.len() as u64;
        EndAccount { records, skipped, forgotten, ended, patterns: evidence.patterns() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const CLOSE: &str =
        r#"{"time":"2026-01-02T03:04:05Z","kind":"session","route":"*/","duration_ms":1000,"cause":"client_close"}"#;

    fn account(options: &ExplainOptions, text: &[u8]) -> EndAccount {
        let mut reading = Reading::new(options);
        reading.read(text).unwrap();
        reading.account()
    }

    fn all() -> ExplainOptions {
        ExplainOptions { files: Vec::new(), since: None, route: None }
    }

    #[test]
    fn lines_that_are_no_records_are_counted_and_empty_ones_are_not() {
        let long = "x".repeat(LONGEST_LINE as usize + 10);
        let text = format!("{CLOSE}\n\n{{}}\n{long}\n{}\nhello\n{CLOSE}", CLOSE.replace("client_close", "drain"));
        let account = account(&all(), text.as_bytes());
        assert_eq!((account.records, account.skipped), (3, 3));
        assert_eq!(account.ended, EndCounts { by_close: 2, dropped: 0, ours: 1 });
    }

    #[test]
    fn what_ended_before_and_what_was_on_another_route_is_left_out() {
        let text = format!("{CLOSE}\n{}\n", CLOSE.replace("*/", "*/ws/"));
        let since = |since: &str| ExplainOptions { since: Some(since.parse().unwrap()), ..all() };
        // The session ended a second after its request.
        assert_eq!(account(&since("2026-01-02T03:04:06Z"), text.as_bytes()).records, 2);
        assert_eq!(account(&since("2026-01-02T03:04:06.001Z"), text.as_bytes()).records, 0);
        let routed = ExplainOptions { route: Some("*/ws/".to_owned()), ..all() };
        assert_eq!(account(&routed, text.as_bytes()).records, 1);
    }

    #[test]
    fn files_in_gzip_are_unpacked_and_one_that_is_cut_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let packed = |text: &str| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let path = folder.path().join("access.log.1.gz");
        // Two members in one file, as logrotate and `cat` make them.
        let whole = [packed(&format!("{CLOSE}\n")), packed(&format!("{CLOSE}\n"))].concat();
        fs_err::write(&path, &whole).unwrap();
        let options = ExplainOptions { files: vec![path.clone()], ..all() };
        assert_eq!(run(&options).unwrap().records, 2);
        fs_err::write(&path, [&whole[..], &[0; 1000]].concat()).unwrap();
        assert_eq!(run(&options).unwrap().records, 2);
        fs_err::write(&path, &whole[..whole.len() - 9]).unwrap();
        let error = run(&options).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {}", path.display())), "{error}");
    }
}
