//! Where the log goes: the keys `output`, `file` and `gelf` of the section `logging`.

use std::path::PathBuf;
use std::time::Duration;

use wellkept_config::{ByteSize, FromNode, Schema, Section, one_of, word_of};
use wellkept_telemetry::logging::{
    Compression, FileOptions, Folder, Format, GelfOptions, GelfTransport, Keep, Rotated, SinkOptions,
};

use super::FormatWord;

/// Where the log goes. Several places may be named; each has a queue and a thread of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outputs {
    /// Which of the standard streams. Default: standard output.
    pub stream: StandardStream,
    /// A file beside it, and how lines look in there. Default: none.
    pub file: Option<(Format, FileOptions)>,
    /// A receiver of GELF beside it. Default: none.
    pub gelf: Option<GelfOptions>,
}

/// Which of the standard streams the log goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StandardStream {
    /// Standard output.
    #[default]
    Output,
    /// Standard error.
    Errors,
    /// Neither.
    None,
}

/// Smallest file: one line of the longest.
const SMALLEST: u64 = 16 << 10;
/// Shortest span of a file.
const SHORTEST: Duration = Duration::from_secs(60);
/// Most files that are kept.
const MOST_FILES: u32 = 10_000;
/// Bytes of a datagram.
const DATAGRAM: std::ops::RangeInclusive<u16> = 512..=8192;

impl Outputs {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        section.describe(&[
            ("output", "Which of the standard streams it goes to."),
            ("file", "A file that it goes to as well. Default: none."),
            ("gelf", "A receiver of GELF that it goes to as well, such as Graylog. Default: none."),
        ]);
        let stream = section.or("output", StreamWord(StandardStream::default())).0;
        let file = section.section("file", read_file);
        let gelf = section.section("gelf", read_gelf);
        Self { stream, file, gelf }
    }

    /// The sinks; `format` is that of the standard stream.
    pub(super) fn sinks(&self, format: Format) -> Vec<SinkOptions> {
        let stream = match self.stream {
            StandardStream::Output => Some(SinkOptions::stdout(format)),
            StandardStream::Errors => Some(SinkOptions::stderr(format)),
            StandardStream::None => None,
        };
        let file = self.file.clone().map(|(format, file)| SinkOptions::file(format, file));
        let gelf = self.gelf.clone().map(SinkOptions::gelf);
        [stream, file, gelf].into_iter().flatten().collect()
    }

    /// What is allowed and seldom meant, in words.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.stream == StandardStream::None && self.file.is_none() && self.gelf.is_none() {
            warnings.push(
                "nothing is logged anywhere: `logging.output` is `none`, and there is no file and no receiver".into(),
            );
        }
        if let Some((_, file)) = &self.file
            && file.max_size.is_none()
            && file.every.is_none()
        {
            let path = file.path.display();
            warnings.push(format!(
                "{path} grows without a bound: see that it is rotated from outside, with SIGHUP after it"
            ));
        }
        warnings
    }
}

fn read_file(section: &mut Section<'_>) -> Option<(Format, FileOptions)> {
    section.describe(&[
        ("path", "The file."),
        ("format", "How lines look in it."),
        ("max_size", "At which size a new one is begun, at least 16KiB; `off` when something else rotates it."),
        ("every", "After which time a new one is begun, at least 1m."),
        ("keep", "How many former ones are kept."),
        ("keep_size", "How large the former ones may be together. Default: as large as they are."),
        ("keep_for", "How long the former ones are kept. Default: until there are too many."),
        ("compress", "Whether former ones are compressed, by gzip."),
        ("create_folder", "Whether its folder is made when it is not there."),
    ]);
    let path = section.required::<PathBuf>("path");
    let format = section.or("format", FormatWord(Format::Json)).0;
    let defaults = FileOptions::new("");
    let max_size = section.or("max_size", SizeOrOff(defaults.max_size)).0;
    let every = section.or("every", SpanOrOff(defaults.every)).0;
    let files = section.or("keep", u32::try_from(defaults.keep.files).unwrap_or(MOST_FILES));
    let size = section.optional::<ByteSize>("keep_size").map(ByteSize::as_u64);
    let age = section.optional::<Duration>("keep_for");
    let rotated = if section.or("compress", true) { Rotated::Gzip } else { Rotated::Plain };
    let folder = if section.or("create_folder", false) { Folder::Create } else { Folder::MustExist };
    section.complete();
    let mut refuse = |key: &str, message: &str| {
        let at = section.position_of(key);
        section.report(at, "config.range", message);
    };
    if max_size.is_some_and(|size| size < SMALLEST) {
        refuse("max_size", "at least 16KiB, or `off`");
    }
    if every.is_some_and(|every| every < SHORTEST) {
        refuse("every", "at least 1m, or `off`");
    }
    if files > MOST_FILES {
        refuse("keep", "at most 10000 files");
    }
    let path = path?;
    if path.as_os_str().is_empty() || path.file_name().is_none() {
        refuse("path", "expected the path of a file, such as /var/log/orders/orders.log");
        return None;
    }
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let keep = Keep { files, size, age };
    Some((format, FileOptions { path, max_size, every, keep, rotated, folder }))
}

fn read_gelf(section: &mut Section<'_>) -> Option<GelfOptions> {
    section.describe(&[
        ("url", "`udp://graylog:12201` or `tcp://graylog:12201`."),
        ("compression", "How datagrams are compressed; for `udp` only. Default: gzip."),
        ("datagram", "How large a datagram may be, from 512 to 8192 bytes; for `udp` only. Default: 1420."),
    ]);
    let receiver = section.required::<Receiver>("url").map(|receiver| receiver.0);
    let compression = section.optional::<CompressionWord>("compression").map(|word| word.0);
    let datagram = section.optional::<u16>("datagram");
    section.complete();
    let receiver = receiver?;
    if receiver.transport == GelfTransport::Tcp {
        for (key, is_there) in [("compression", compression.is_some()), ("datagram", datagram.is_some())] {
            if is_there {
                let at = section.position_of(key);
                section.report(at, "config.range", format!("`{key}` is for a receiver by udp://"));
            }
        }
        return Some(receiver);
    }
    if datagram.is_some_and(|datagram| !DATAGRAM.contains(&datagram)) {
        let at = section.position_of("datagram");
        section.report(at, "config.range", "from 512 to 8192 bytes");
    }
    let GelfTransport::Udp { compression: usual, datagram: usual_datagram } = GelfTransport::UDP else { return None };
    let transport =
        GelfTransport::Udp { compression: compression.unwrap_or(usual), datagram: datagram.unwrap_or(usual_datagram) };
    Some(GelfOptions { transport, ..receiver })
}

struct StreamWord(StandardStream);

const STREAMS: [(&str, StandardStream); 3] =
    [("stdout", StandardStream::Output), ("stderr", StandardStream::Errors), ("none", StandardStream::None)];

impl FromNode for StreamWord {
    const EXPECTED: &'static str = "stdout, stderr or none";

    fn schema() -> Schema {
        Schema::words(&STREAMS)
    }

    fn written(&self) -> Option<String> {
        word_of(&self.0, &STREAMS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &STREAMS).map(Self)
    }
}

struct CompressionWord(Compression);

const COMPRESSIONS: [(&str, Compression); 3] =
    [("gzip", Compression::Gzip), ("zlib", Compression::Zlib), ("none", Compression::None)];

impl FromNode for CompressionWord {
    const EXPECTED: &'static str = "gzip, zlib or none";

    fn schema() -> Schema {
        Schema::words(&COMPRESSIONS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &COMPRESSIONS).map(Self)
    }
}

struct Receiver(GelfOptions);

impl FromNode for Receiver {
    const EXPECTED: &'static str = "a URL such as udp://graylog:12201 or tcp://graylog:12201";

    fn schema() -> Schema {
        Schema::Text { pattern: "(udp|tcp)://.+", examples: &["udp://graylog:12201", "tcp://graylog:12201"] }
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: wellkept_telemetry::logging::GelfUrlError| error.hint().to_owned())
    }
}

struct SizeOrOff(Option<u64>);

impl FromNode for SizeOrOff {
    const EXPECTED: &'static str = "a number of bytes such as 100MiB, or off";

    fn schema() -> Schema {
        Schema::Either(vec![Schema::words(&[("off", ())]), ByteSize::schema()])
    }

    fn written(&self) -> Option<String> {
        self.0.map_or_else(|| Some("off".to_owned()), |size| ByteSize(size).written())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(Self(None)) } else { ByteSize::from_scalar(text).map(|size| Self(Some(size.as_u64()))) }
    }

    fn code_for(text: &str) -> &'static str {
        ByteSize::code_for(text)
    }
}

struct SpanOrOff(Option<Duration>);

impl FromNode for SpanOrOff {
    const EXPECTED: &'static str = "a duration such as 1h, 1d or 7d, or off";

    fn schema() -> Schema {
        Schema::Either(vec![Schema::words(&[("off", ())]), Duration::schema()])
    }

    fn written(&self) -> Option<String> {
        self.0.map_or_else(|| Some("off".to_owned()), |span| span.written())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(Self(None)) } else { Duration::from_scalar(text).map(|span| Self(Some(span))) }
    }

    fn code_for(text: &str) -> &'static str {
        Duration::code_for(text)
    }
}
