//! What the stand-in does wrong, and in which step.

use std::collections::{HashMap, VecDeque};

/// A step of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    BeginUpload,
    Patch,
    UploadState,
    FinishUpload,
    CancelUpload,
    HeadBlob,
    GetBlob,
    PutManifest,
    GetManifest,
    DeleteManifest,
    ListTags,
    /// The token service, which is on the same port.
    Token,
    Other,
}

/// What happens in place of the right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with these headers and this body. The request has no effect.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// The connection is reset before the body of the request is read.
    Reset,
    /// The request has its effect, and then the connection is reset.
    LoseAnswer,
    /// So many bytes of a chunk are stored, and then the connection is reset.
    CutAfter(usize),
    /// The first half of a chunk is stored and acknowledged.
    StoreHalf,
    /// The upload is forgotten. Then the request is answered.
    Forget,
    /// The request is read and never answered.
    Hang,
    /// The right answer with these headers in place of its own.
    Headers(Vec<(&'static str, String)>),
    /// A body with other bytes of the same length.
    OtherBytes,
    /// The whole body, also if a part was requested.
    IgnoreRange,
    /// So many bytes of the body, and then the connection ends.
    CutBody(usize),
    /// This status and a body without end.
    Endless(u16),
    /// This status and a body that announces more and sends nothing.
    Silent(u16),
}

/// The faults that requests will meet.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<Step, VecDeque<Fault>>);

impl Fault {
    /// A status without headers, with the code of the specification.
    pub fn status(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"a fault of the stand-in"}}]}}"#);
        Self::Answer { status, headers: vec![("content-type", "application/json".to_owned())], body }
    }

    /// A redirect to this address.
    pub fn redirect(to: &str) -> Self {
        Self::Answer { status: 307, headers: vec![("location", to.to_owned())], body: String::new() }
    }

    /// A refusal for some time, with this `Retry-After`.
    pub fn busy(status: u16, retry_after: &str) -> Self {
        Self::Answer { status, headers: vec![("retry-after", retry_after.to_owned())], body: "busy".to_owned() }
    }
}

impl Faults {
    pub(super) fn add(&mut self, step: Step, fault: Fault) {
        self.0.entry(step).or_default().push_back(fault);
    }

    pub(super) fn take(&mut self, step: Step) -> Option<Fault> {
        self.0.get_mut(&step)?.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
