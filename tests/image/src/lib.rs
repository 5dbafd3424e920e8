//! Container images without a container engine.
//!
//! An image here is one static binary on an empty root (`FROM scratch`): no shell, no libc, no
//! package manager, a user that is not root. [`Image::archive`] writes it as one tar file that is an
//! OCI image layout *and* what `docker save` writes, so that the same file goes into
//! `ctr images import`, `docker load`, `kind load image-archive` and `skopeo copy`.
//!
//! The archive depends on the binary's bytes and on nothing else: no clock, no user, no path. Two
//! people who build the same commit with the same compiler and the same C library, which is linked in,
//! can compare digests.

mod archive;
mod binary;
mod name;

pub use archive::{Digest, Image};
pub use binary::{Binary, BinaryError};
pub use name::{ImageName, ImageNameError};
