//! What operators read: log lines, metrics, and the words of errors.

mod causes;

pub use causes::chain;
