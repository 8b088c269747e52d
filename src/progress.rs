//! Progress of long work: what a session reports, and a command line shows.

/// Receiver of progress in steps.
pub trait Steps {
    /// A step begins.
    fn begin(&mut self, what: &str);
    /// It is done.
    fn end(&mut self);
}
