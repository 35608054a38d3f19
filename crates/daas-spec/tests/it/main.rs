//! What a compose file becomes, and what is said about one that is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "helpers of tests may fail loudly, and a table is as long as it is"
)]

mod budgets;
mod described;
mod dockerfiles;
mod every_key;
mod faults;
mod files_and_variables;
mod forms;
mod merging;
mod projects;
mod properties;
mod rights;
mod routes;
mod support;
