//! What a compose file becomes, and what is said about one that is wrong.

mod budgets;
mod every_key;
mod faults;
mod files_and_variables;
mod forms;
mod merging;
mod projects;
mod properties;
mod rights;
mod support;
