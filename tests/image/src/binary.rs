//! Is this file a program that can run on an empty root filesystem?

use object::Endianness;
use object::elf::{
    ELFCLASS64, EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PT_INTERP, ProgramHeader64,
};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// A static Linux executable and the architecture it is for.
#[derive(Debug, Clone)]
pub struct Binary {
    bytes: Vec<u8>,
    architecture: &'static str,
}

/// Why a file cannot be the only file of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BinaryError {
    /// It is no 64-bit ELF executable.
    #[error("not a 64-bit ELF executable: {0}")]
    NotExecutable(String),
    /// It asks for a dynamic loader, which an empty root does not have.
    #[error(
        "needs the dynamic loader {0}, which an image FROM scratch does not have: \
         build it with `-C target-feature=+crt-static`"
    )]
    Dynamic(String),
    /// It is for a machine that this project has no name for.
    #[error("built for ELF machine {0}; only x86_64 and aarch64 are known here")]
    Architecture(u16),
}

impl Binary {
    /// Reads the ELF header and refuses what would only fail in the cluster, as `exec format error`
    /// or `no such file or directory`.
    ///
    /// # Errors
    /// When `bytes` is no ELF executable, needs a dynamic loader, or is for an unknown machine.
    pub fn new(bytes: Vec<u8>) -> Result<Self, BinaryError> {
        let architecture = check(&bytes)?;
        Ok(Self { bytes, architecture })
    }

    /// The architecture as OCI names it: `amd64` or `arm64`.
    #[must_use]
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// The file itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn check(bytes: &[u8]) -> Result<&'static str, BinaryError> {
    let malformed = |error: object::read::Error| BinaryError::NotExecutable(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(malformed)?;
    if header.e_ident.class != ELFCLASS64 {
        return Err(BinaryError::NotExecutable("a 32-bit file".into()));
    }
    let endian = header.endian().map_err(malformed)?;
    let kind = header.e_type(endian);
    if kind != ET_EXEC && kind != ET_DYN {
        return Err(BinaryError::NotExecutable(format!("ELF type {kind} is not a program")));
    }
    let segments: &[ProgramHeader64<Endianness>] =
        header.program_headers(endian, bytes).map_err(malformed)?;
    if let Some(segment) = segments.iter().find(|segment| segment.p_type(endian) == PT_INTERP) {
        let loader = segment.data(endian, bytes).unwrap_or_default();
        let loader = String::from_utf8_lossy(loader);
        return Err(BinaryError::Dynamic(loader.trim_end_matches('\0').to_owned()));
    }
    match header.e_machine(endian) {
        EM_X86_64 => Ok("amd64"),
        EM_AARCH64 => Ok("arm64"),
        other => Err(BinaryError::Architecture(other)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest file that passes: a header and no segments.
    pub(crate) fn smallest_static(machine: u16) -> Vec<u8> {
        let mut file = vec![0_u8; 64];
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        file[16..18].copy_from_slice(&ET_EXEC.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[20] = 1;
        file[52..54].copy_from_slice(&64_u16.to_le_bytes());
        file
    }

    fn with_loader(loader: &[u8]) -> Vec<u8> {
        let mut file = smallest_static(EM_X86_64);
        file[32..40].copy_from_slice(&64_u64.to_le_bytes()); // e_phoff
        file[54..56].copy_from_slice(&56_u16.to_le_bytes()); // e_phentsize
        file[56..58].copy_from_slice(&1_u16.to_le_bytes()); // e_phnum
        let mut segment = vec![0_u8; 56];
        segment[..4].copy_from_slice(&PT_INTERP.to_le_bytes());
        segment[8..16].copy_from_slice(&120_u64.to_le_bytes()); // p_offset
        segment[32..40].copy_from_slice(&(loader.len() as u64).to_le_bytes()); // p_filesz
        file.extend(segment);
        file.extend(loader);
        file
    }

    #[test]
    fn a_static_program_is_taken_and_its_architecture_known() {
        for (machine, name) in [(EM_X86_64, "amd64"), (EM_AARCH64, "arm64")] {
            assert_eq!(Binary::new(smallest_static(machine)).unwrap().architecture(), name);
        }
    }

    #[test]
    fn a_program_that_needs_a_loader_is_refused_with_the_loader_named() {
        let error = Binary::new(with_loader(b"/lib64/ld-linux-x86-64.so.2\0")).unwrap_err();
        assert_eq!(error, BinaryError::Dynamic("/lib64/ld-linux-x86-64.so.2".into()));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let mut object_file = smallest_static(EM_X86_64);
        object_file[16] = 1;
        for bytes in [b"#!/bin/sh\n".to_vec(), vec![], object_file] {
            assert!(matches!(Binary::new(bytes), Err(BinaryError::NotExecutable(_))));
        }
        let riscv = Binary::new(smallest_static(243)).unwrap_err();
        assert_eq!(riscv, BinaryError::Architecture(243));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_check_panic(mut bytes: Vec<u8>, keep_header: bool) {
            if keep_header {
                let mut file = smallest_static(EM_X86_64);
                file[32] = 64;
                file[54] = 56;
                file[56] = 200;
                file.append(&mut bytes);
                bytes = file;
            }
            let _ = Binary::new(bytes);
        }
    }
}
