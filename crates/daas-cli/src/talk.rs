use crate::args::Global;
use crate::complain;
use crate::paint::Paint;
use crate::stop::Stop;
use crate::table::Table;
use crate::terminal::Terminal;
use daas_api::DiagnosticView;
use daas_client::{Address, Client, Tls};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// What a command works with: the daemon, the terminal, and how the user wishes to be talked to.
#[derive(Clone)]
pub(crate) struct Talk {
    pub(crate) client: Client,
    pub(crate) terminal: Terminal,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// How data is painted.
    pub(crate) paint: Paint,
    /// How words are painted.
    pub(crate) words_paint: Paint,
    /// Remarks that were made: this side reads a project, and so does the daemon.
    told: Arc<Mutex<Vec<DiagnosticView>>>,
}

impl Talk {
    pub(crate) fn new(global: &Global, terminal: Terminal) -> Result<Self, Stop> {
        let address = match (&global.host, &global.socket) {
            (Some(host), _) => {
                Address::parse(host).map_err(|why| Stop::input("host-invalid", why))?
            }
            (None, Some(socket)) => Address::Unix(socket.clone()),
            (None, None) => Address::default(),
        };
        let token = match (&global.token_file, &global.token) {
            (Some(file), _) => Some(
                std::fs::read_to_string(file)
                    .map_err(Stop::io("read the token file", file.display()))?
                    .trim()
                    .to_owned(),
            ),
            (None, token) => token.clone(),
        };
        let mut client = Client::new(address, token);
        if matches!(client.address(), Address::Tls(_)) {
            let tls = Tls::read(global.ca.as_deref(), global.certificate.as_deref());
            client = client.with_tls(tls.map_err(daas_api::Failure::from)?);
        }
        Ok(Self {
            client,
            json: global.json,
            // With JSON, standard error holds nothing but a problem.
            quiet: global.quiet || global.json,
            paint: global.color.paint(terminal.out_is_terminal),
            words_paint: global.color.paint(terminal.err_is_terminal),
            terminal,
            told: Arc::default(),
        })
    }

    /// Returns the same without words on the way.
    pub(crate) fn silent(&self) -> Self {
        Self {
            quiet: true,
            ..self.clone()
        }
    }

    /// Writes data.
    pub(crate) fn data(&self, text: impl AsRef<[u8]>) -> Result<(), Stop> {
        self.terminal.out(text)
    }

    /// Writes one line of words, unless the user wishes none.
    pub(crate) fn say(&self, words: impl AsRef<str>) {
        if !self.quiet {
            self.terminal.err(format!("{}\n", words.as_ref()));
        }
    }

    /// Writes a value as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Stop> {
        let mut text = serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".to_owned());
        text.push('\n');
        self.data(text)
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Stop> {
        let mut text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
        text.push('\n');
        self.data(text)
    }

    /// Writes a value as JSON if the user wishes so, and as a table otherwise.
    pub(crate) fn show(
        &self,
        value: &impl Serialize,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Stop> {
        if self.json {
            self.json(value)
        } else {
            self.data(table().text(self.paint))
        }
    }

    /// Tells remarks that were not told before.
    pub(crate) fn remark(&self, diagnostics: &[DiagnosticView]) {
        if !self.quiet {
            let new = self.untold(diagnostics);
            self.terminal
                .err(complain::diagnostics(&new, self.words_paint));
        }
    }

    /// Returns those that were not told before; they count as told.
    pub(crate) fn untold(&self, diagnostics: &[DiagnosticView]) -> Vec<DiagnosticView> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        for diagnostic in diagnostics {
            if !told.contains(diagnostic) {
                told.push(diagnostic.clone());
                new.push(diagnostic.clone());
            }
        }
        new
    }
}
