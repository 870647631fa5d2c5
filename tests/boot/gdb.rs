// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small client of gdb's remote serial protocol: pokes a machine before it starts, and looks at where it ended.

use crate::{elf::symbol, image::image, qemu::Boot};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Number of the program counter in gdb's description of AArch64; x0 to x30 have their own numbers.
pub(crate) const PC: u32 = 32;

/// The limit of every wait for a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A halted machine with a gdb server. Ends with this value.
pub(crate) struct Machine {
    runner: Child,
    server: TcpStream,
    console: PathBuf,
}

impl Machine {
    /// Starts QEMU halted at reset, with the image loaded.
    pub(crate) fn halted(boot: &Boot) -> Self {
        // Free now; were it taken before QEMU has it, the connection would fail, not the wrong machine answer.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let console = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("console-{port}.txt"));
        let file = File::create(&console).expect("a file for the console");
        let mut command = boot.runner();
        command.args(["--gdb", &port.to_string()]).arg(image()).stdin(Stdio::null());
        command.stderr(file.try_clone().expect("a second handle")).stdout(file);
        let mut runner = command.spawn().expect("scripts/qemu starts");
        let begin = Instant::now();
        let server = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(server) => break server,
                Err(error) if begin.elapsed() > PATIENCE || runner.try_wait().is_ok_and(|end| end.is_some()) => {
                    let _ = runner.kill();
                    panic!("{error}\n{}", fs::read_to_string(&console).unwrap_or_default());
                }
                Err(_) => sleep(Duration::from_millis(20)),
            }
        };
        server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        server.set_nodelay(true).expect("a socket");
        let mut machine = Self { runner, server, console };
        // Tells the server that we are there; it answers with the reason of the halt.
        machine.ask("?");
        machine
    }

    /// The QEMU command and what the kernel printed.
    pub(crate) fn console(&self) -> String {
        fs::read(&self.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// A register's value.
    pub(crate) fn register(&mut self, number: u32) -> u64 {
        let answer = self.ask(&format!("p{number:x}"));
        u64::from_str_radix(&answer, 16).map(u64::swap_bytes).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// Changes a register.
    pub(crate) fn set_register(&mut self, number: u32, value: u64) {
        let answer = self.ask(&format!("P{number:x}={:016x}", value.swap_bytes()));
        assert_eq!(answer, "OK", "register {number}");
    }

    /// Writes memory, at a physical address while the MMU is off.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        let mut request = format!("M{address:x},{:x}:", bytes.len());
        for byte in bytes {
            write!(request, "{byte:02x}").expect("a string takes everything");
        }
        assert_eq!(self.ask(&request), "OK", "memory at {address:#x}");
    }

    /// Reads memory.
    pub(crate) fn read(&mut self, address: u64, length: usize) -> Vec<u8> {
        let answer = self.ask(&format!("m{address:x},{length:x}"));
        let byte = |at: usize| u8::from_str_radix(&answer[at..at + 2], 16).expect("hexadecimal");
        (0..answer.len()).step_by(2).map(byte).collect()
    }

    /// Stores 32 bits to a device, MMU off: gdb's own writes reach memory alone. The CPU that is halted does it, by an
    /// instruction that replaces its next one for this.
    pub(crate) fn store_device(&mut self, address: u64, value: u32) {
        const STR_W1_X0: u32 = 0xb900_0001;
        let at = self.register(PC);
        let [x0, x1] = [0, 1].map(|number| self.register(number));
        let code = self.read(at, 4);
        self.write(at, &STR_W1_X0.to_le_bytes());
        self.set_register(0, address);
        self.set_register(1, value.into());
        self.run_to(at + 4);
        self.write(at, &code);
        for (number, kept) in [(0, x0), (1, x1), (PC, at)] {
            self.set_register(number, kept);
        }
    }

    /// Lets the machine run until it is about to execute the instruction at `address`.
    pub(crate) fn run_to(&mut self, address: u64) {
        assert_eq!(self.ask(&format!("Z1,{address:x},4")), "OK", "a breakpoint at {address:#x}");
        self.ask("c");
        assert_eq!(self.ask(&format!("z1,{address:x},4")), "OK", "no breakpoint at {address:#x}");
        assert_eq!(self.register(PC), address, "stopped elsewhere\n{}", self.console());
    }

    /// Lets the machine run until it is about to execute this instruction of a function of the boot code, or, one further,
    /// has executed it. The image is at `base`.
    pub(crate) fn run_to_code(&mut self, base: u64, function: &str, instruction: u32, further: u64) {
        let asks = symbol(function);
        let code = self.read(base + asks.offset, asks.size as usize);
        let found = code.chunks_exact(4).position(|code| code == instruction.to_le_bytes());
        let found = found.unwrap_or_else(|| panic!("{function} has no {instruction:#x}")) as u64;
        self.run_to(base + asks.offset + 4 * (found + further));
    }

    /// The image at `base` meets a core without 4 KiB pages: no model of QEMU's is one, so what the core said is changed
    /// behind the instruction that asks. ID_AA64MMFR0_EL1.TGran4, bits 31 to 28, is 0b1111 there (DDI 0487).
    pub(crate) fn lacks_4_kib_pages(&mut self, base: u64) {
        const MRS_X0_ID_AA64MMFR0_EL1: u32 = 0xd538_0700;
        self.run_to_code(base, "cleave_init_el1", MRS_X0_ID_AA64MMFR0_EL1, 1);
        let said = self.register(0);
        self.set_register(0, said | 0xf << 28);
    }

    /// Lets the machine run until the console has this text; fails the test if it never does.
    #[track_caller]
    pub(crate) fn runs_until_it_says(&mut self, text: &str) {
        self.send("c");
        let begin = Instant::now();
        while !self.console().contains(text) {
            assert!(begin.elapsed() < PATIENCE, "no {text:?} in\n{}", self.console());
            sleep(Duration::from_millis(50));
        }
    }

    /// Lets the machine run until its program counter is in `range`; the last program counter if it never is.
    pub(crate) fn run_until(&mut self, range: core::ops::Range<u64>) -> Result<(), u64> {
        let begin = Instant::now();
        loop {
            let pc = self.look();
            if range.contains(&pc) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE / 4 {
                return Err(pc);
            }
        }
    }

    /// Lets the machine run until two looks in a row find it at the same place: it sleeps for ever.
    pub(crate) fn halts(&mut self) -> bool {
        let mut last = None;
        for _ in 0..50 {
            let pc = self.look();
            if last == Some(pc) {
                return true;
            }
            last = Some(pc);
        }
        false
    }

    /// Lets the machine run for a tenth of a second; where it is then.
    fn look(&mut self) -> u64 {
        self.send("c");
        sleep(Duration::from_millis(100));
        // An interrupt is a bare byte; the answer is the stop packet of the `c`.
        self.put(&[3]);
        self.receive();
        self.register(PC)
    }

    /// Lets the machine run to its end. The runner's exit status, and the console.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        self.send("c");
        let begin = Instant::now();
        // More than a boot takes: the host may be busy.
        while begin.elapsed() < 3 * PATIENCE {
            if let Ok(Some(end)) = self.runner.try_wait() {
                return (end.code(), self.console());
            }
            sleep(Duration::from_millis(20));
        }
        (None, self.console())
    }

    fn ask(&mut self, request: &str) -> String {
        self.send(request);
        self.receive()
    }

    fn send(&mut self, request: &str) {
        let sum = request.bytes().fold(0_u8, u8::wrapping_add);
        self.put(format!("${request}#{sum:02x}").as_bytes());
    }

    /// The next packet's content; acknowledges it. Acknowledgements of our own are skipped.
    fn receive(&mut self) -> String {
        while self.byte() != b'$' {}
        let mut content = Vec::new();
        loop {
            match self.byte() {
                b'#' => break,
                byte => content.push(byte),
            }
        }
        // The sum: TCP has checked already.
        let _ = (self.byte(), self.byte());
        self.put(b"+");
        String::from_utf8(content).expect("ASCII")
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Err(error) = self.server.write_all(bytes) {
            panic!("the machine has ended: {error}\n{}", self.console());
        }
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        if let Err(error) = self.server.read_exact(&mut byte) {
            panic!("the machine has ended: {error}\n{}", self.console());
        }
        byte[0]
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // `k` ends QEMU, and the runner with it.
        let _ = self.server.write_all(b"$k#6b");
        let begin = Instant::now();
        while matches!(self.runner.try_wait(), Ok(None)) && begin.elapsed() < PATIENCE / 4 {
            sleep(Duration::from_millis(10));
        }
        let _ = self.runner.kill();
        let _ = self.runner.wait();
        let _ = fs::remove_file(&self.console);
    }
}
