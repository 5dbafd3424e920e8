//! The planner's tests: a small cluster in virtual time, whole stories as transcripts, and properties
//! over random sequences of events and faults.

mod closing;
mod drains;
mod properties;
mod sim;
mod stories;
mod world;
