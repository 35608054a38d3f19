//! Answers of our own: what a visitor sees when no node answers.

use crate::body::Answer;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// What is said, in parts, before it is known in which form.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    /// A short word for programs.
    pub(crate) code: &'static str,
    pub(crate) title: String,
    /// A sentence each.
    pub(crate) lines: Vec<String>,
    /// After how many seconds it may be better; a browser asks again by itself.
    pub(crate) again: Option<u32>,
}

impl Page {
    pub(crate) fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title: title.into(),
            lines: Vec::new(),
            again: None,
        }
    }

    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Renders it in the form that the visitor wants: HTML for browsers, JSON for programs that ask for it, text for all others.
    pub(crate) fn render(self, headers: &HeaderMap) -> Response<Answer> {
        let (kind, body) = match Form::of(headers) {
            Form::Html => ("text/html; charset=utf-8", self.html()),
            Form::Json => ("application/problem+json", self.json()),
            Form::Text => ("text/plain; charset=utf-8", self.text()),
        };
        let mut response = Response::new(Answer::page(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-daas-error", HeaderValue::from_static(self.code));
        if let Some(again) = self.again {
            headers.insert(RETRY_AFTER, HeaderValue::from(again));
        }
        response
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn json(&self) -> String {
        // RFC 9457.
        let problem = serde_json::json!({
            "type": format!("urn:daas:problem:{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.lines.join("; "),
        });
        format!("{problem}\n")
    }

    fn html(&self) -> String {
        let again = self.again.map_or_else(String::new, |s| {
            format!("<meta http-equiv=\"refresh\" content=\"{s}\">")
        });
        let lines: String = self
            .lines
            .iter()
            .map(|line| format!("<p>{}</p>", escape(line)))
            .collect();
        let title = escape(&self.title);
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">{again}<title>{title}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem;color:#222;background:#fafafa}}\
             h1{{font-size:1.4rem}}small{{color:#777}}@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}}}</style></head>\
             <body><h1>{title}</h1>{lines}<small>{} · DaaS</small></body></html>\n",
            self.status.as_u16()
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Text,
}

impl Form {
    /// Takes the form that the visitor wants most (RFC 9110 section 12.5.1), of equals the first: browsers name HTML before all, programs
    /// name JSON or nothing.
    fn of(headers: &HeaderMap) -> Self {
        let all = headers.get_all(ACCEPT).iter();
        let parts = all
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut best = (Self::Text, 0.0);
        for part in parts {
            let mut words = part.split(';').map(str::trim);
            let form = match words.next().unwrap_or_default() {
                "text/html" | "application/xhtml+xml" => Self::Html,
                "application/json" | "application/problem+json" => Self::Json,
                "text/plain" => Self::Text,
                _ => continue,
            };
            let weight = words
                .find_map(|word| word.strip_prefix("q=")?.parse::<f32>().ok())
                .unwrap_or(1.0);
            if weight > best.1 {
                best = (form, weight);
            }
        }
        best.0
    }
}

/// Tells whether the visitor shows pages.
pub(crate) fn takes_html(headers: &HeaderMap) -> bool {
    matches!(Form::of(headers), Form::Html)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_is_wanted_most() {
        for (accept, form) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Form::Html,
            ),
            ("application/json;q=0.1, text/html", Form::Html),
            ("text/html;q=0", Form::Text),
            (
                "text/html;level=1;q=0.2, application/json; q=0.3",
                Form::Json,
            ),
            ("application/json, text/html", Form::Json),
            ("text/plain, text/html", Form::Text),
            ("*/*", Form::Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Form::of(&headers), form, "{accept}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Text);
    }
}
