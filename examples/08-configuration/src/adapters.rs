//! What is read of a document. The parsers themselves would be libraries; here is what their settings are for.

use serde_json::{Value, json};

use crate::settings::{Adapters, Csv, Delimiter, Excel, Html, JsonFormat, Pdf, Word};

/// What became of a document: what was read, or why nothing was.
type Taken = Result<Value, String>;

/// Reads a document; `None` where there is no such adapter or it is off.
pub(crate) fn read(adapters: &Adapters, format: &str, document: &[u8]) -> Option<Taken> {
    match format {
        "pdf" => adapters.pdf.as_ref().map(|pdf| read_pdf(pdf, document)),
        "word" => adapters.word.as_ref().map(|word| read_word(word, document)),
        "json" => adapters.json.as_ref().map(|json| read_json(json, document)),
        "csv" => adapters.csv.as_ref().map(|csv| read_csv(csv, document)),
        "excel" => adapters.excel.as_ref().map(|excel| read_excel(excel, document)),
        "html" => adapters.html.as_ref().map(|html| read_html(html, document)),
        // What REST has is fetched, not sent.
        _ => None,
    }
}

fn read_pdf(pdf: &Pdf, document: &[u8]) -> Taken {
    let text = String::from_utf8_lossy(document);
    let pages = text.matches("/Type /Page").count();
    match text.starts_with("%PDF-") {
        true if pages <= pdf.max_pages => Ok(json!({ "pages": pages, "languages": pdf.languages })),
        true => Err(format!("{pages} pages, at most {}", pdf.max_pages)),
        false => Err("not a PDF".to_owned()),
    }
}

fn read_word(word: &Word, document: &[u8]) -> Taken {
    archive(document)?;
    Ok(json!({ "changes": format!("{:?}", word.changes) }))
}

fn read_excel(excel: &Excel, document: &[u8]) -> Taken {
    archive(document)?;
    Ok(json!({ "sheets": excel.sheets, "values": format!("{:?}", excel.values) }))
}

/// Office documents are ZIP archives (ECMA-376).
fn archive(document: &[u8]) -> Result<(), String> {
    if document.starts_with(b"PK") { Ok(()) } else { Err("not an Office document".to_owned()) }
}

fn read_json(settings: &JsonFormat, document: &[u8]) -> Taken {
    let documents: Vec<_> = if settings.lines {
        document.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
    } else {
        vec![document]
    };
    for one in &documents {
        let value: Value = serde_json::from_slice(one).map_err(|error| error.to_string())?;
        if depth(&value) > settings.max_depth {
            return Err(format!("more than {} levels", settings.max_depth));
        }
    }
    Ok(json!({ "documents": documents.len() }))
}

/// The parser has a limit of its own, so that this ends.
fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

fn read_csv(csv: &Csv, document: &[u8]) -> Taken {
    let delimiter = match csv.delimiter {
        Delimiter::Comma => ',',
        Delimiter::Semicolon => ';',
        Delimiter::Tab => '\t',
    };
    let text = std::str::from_utf8(document).map_err(|_| "not UTF-8".to_owned())?;
    let columns = text.lines().next().map_or(0, |line| line.split(delimiter).count());
    let rows = text.lines().count().saturating_sub(usize::from(csv.header));
    Ok(json!({ "rows": rows, "columns": columns }))
}

fn read_html(html: &Html, document: &[u8]) -> Taken {
    let mut text = std::str::from_utf8(document).map_err(|_| "not UTF-8".to_owned())?.to_owned();
    for element in &html.remove {
        let (open, close) = (format!("<{element}"), format!("</{element}>"));
        while let Some((begin, end)) = text.find(&open).and_then(|begin| Some((begin, text[begin..].find(&close)?))) {
            text.replace_range(begin..begin + end + close.len(), "");
        }
    }
    Ok(json!({ "characters": text.chars().count() }))
}
