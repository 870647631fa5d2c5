# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about requests: what they become, and which are refused before QEMU starts."""
import contextlib
import unittest
from unittest import mock

import support
import options
import values


def parse(*arguments, **environment):
    """Returns a request with a QEMU that is never looked for."""
    return options.parse(["kernel.img", *arguments], {"QEMU": "qemu", **environment})


def line(*arguments, **environment):
    """Returns the command line of a request, as one string."""
    return " ".join(parse(*arguments, **environment).command("flat.img"))


@contextlib.contextmanager
def host(machine, system="linux"):
    """Another host."""
    with mock.patch.object(values.platform, "machine", lambda: machine), mock.patch.object(values.sys, "platform", system):
        yield


class Defaults(unittest.TestCase):
    def test_the_defaults_are_those_of_the_interface(self):
        self.assertEqual(
            line(), "qemu -machine virt,gic-version=3,memory-backend=ram"
            " -object memory-backend-ram,id=ram,size=1G,share=on -m 1G -accel tcg -cpu cortex-a72 -smp 4"
            " -nic none -display none -monitor none -serial stdio -no-reboot"
            " -semihosting-config enable=on,target=native -kernel flat.img -append exit=semihosting")
        self.assertEqual(parse().timeout, 60)

    def test_an_empty_variable_is_one_that_is_not_set(self):
        empty = {name: "" for name in options.VARIABLES if name != "QEMU"}
        self.assertEqual(line(**empty), line())

    def test_a_flag_wins_over_the_environment(self):
        self.assertIn("-smp 2 ", line("--smp", "2", SMP="3"))


class Meaning(unittest.TestCase):
    def test_el2_is_virtualization(self):
        self.assertIn("virtualization=on", line(EL="2"))

    def test_the_monitor_gets_the_keyboard_and_no_timeout(self):
        found = line("--monitor", BOOTARGS="linear=block")
        self.assertIn("-serial mon:stdio ", found)
        self.assertTrue(found.endswith("-append linear=block monitor exit=semihosting"))
        self.assertIsNone(parse("--monitor").timeout)
        self.assertEqual(parse("--monitor", TIMEOUT="7").timeout, 7)

    def test_icount_is_one_tick_per_instruction(self):
        found = line(ICOUNT="1")
        self.assertIn("-icount shift=0,sleep=off", found)
        self.assertIn("-accel tcg,thread=single", found)
        self.assertIn("-cpu cortex-a72,cntfrq=1000000000 ", found)

    def test_the_kernel_is_told_that_its_clock_is_counted(self):
        for asked in ({"ICOUNT": "1"}, {"SMP": "33"}, {"QEMU_ARGS": "-icount shift=4"}):
            self.assertEqual(parse(BOOTARGS="load=off", **asked).append(), "load=off exit=semihosting clock=counted")
        for asked in ({}, {"SMP": "32"}, {"SMP": "33", "ICOUNT": "0"}):
            self.assertEqual(parse(**asked).append(), "exit=semihosting")

    def test_a_cntfrq_of_the_user_stays(self):
        self.assertIn("-cpu max,cntfrq=7 ", line(ICOUNT="1", CPU="max,cntfrq=7"))

    def test_many_cpus_run_in_one_thread_with_icount(self):
        self.assertIn("thread=single", line(SMP="33"))
        self.assertIn("-icount", line(SMP="33"))
        self.assertNotIn("cntfrq", line(SMP="33"))
        self.assertNotIn("thread=single", line(SMP="32"))
        self.assertNotIn("thread=single", line(SMP="64", ICOUNT="0"))

    def test_memory_larger_than_the_host_is_not_reserved(self):
        self.assertIn("size=64T,share=on,reserve=off", line(MEM="64T"))

    def test_sizes_are_mebibytes_unless_a_letter_says_otherwise(self):
        for text, found in (("512", "512M"), ("2048m", "2G"), ("1T", "1T"), ("3G", "3G"), ("8192K", "8M")):
            self.assertIn(f"-m {found} ", line(MEM=text))

    def test_the_bootargs_come_before_what_the_runner_adds(self):
        self.assertEqual(parse(BOOTARGS="selftest load=on", REPORT="r").append(),
                         "selftest load=on exit=semihosting report=json")

    def test_hardware_virtualisation_has_no_semihosting(self):
        with host("aarch64"):
            found = line(ACCEL="kvm", CPU="host")
            self.assertNotIn("semihosting", found)
            self.assertIn("-accel kvm -cpu host", found)
            self.assertEqual(line(ACCEL="kvm"), found)
        with host("arm64", "darwin"):
            self.assertIn("-accel hvf -cpu host", line(ACCEL="hvf"))

    def test_cpu_properties_pass(self):
        self.assertIn("-cpu cortex-a72,midr=0x410fd823 ", line(CPU="cortex-a72,midr=0x410fd823"))

    def test_the_longer_form_of_smp_passes_and_is_counted(self):
        for text, cpus in (("6,clusters=2,cores=3", 6), ("cpus=5", 5), ("clusters=2,cores=3", 6), ("8", 8)):
            self.assertEqual(parse(SMP=text).cpus, cpus)
            self.assertIn(f"-smp {text} ", line(SMP=text))

    def test_further_arguments_come_last_and_are_split_like_a_shell_does(self):
        found = parse("--raw-args", "-d", "int", QEMU_ARGS="-D 'a b'").command("f")
        self.assertEqual(found[-4:], ["-D", "a b", "-d", "int"])

    def test_a_load_address_becomes_a_text_offset(self):
        self.assertEqual(parse("--load-addr", "0x40083000").text_offset, 0x83000)
        self.assertEqual(parse("--text-offset", "0x80000").text_offset, 0x80000)

    def test_gdb_halts_on_localhost_and_has_no_timeout(self):
        found = parse("--gdb", "1234")
        self.assertIn("-S -gdb tcp:127.0.0.1:1234", " ".join(found.command("f")))
        self.assertIsNone(found.timeout)


class Refused(unittest.TestCase):
    def refuse(self, words, *arguments, **environment):
        with self.assertRaisesRegex(options.OptionError, words):
            parse(*arguments, **environment)

    def test_what_the_board_cannot_have(self):
        self.refuse("8 CPUs at most", GIC="2", SMP="9")
        self.refuse("8 CPUs at most", GIC="2", SMP="9,clusters=3,cores=3")
        self.refuse("1 to 512", SMP="513")
        self.refuse("1 to 512", SMP="0")
        self.refuse("GIC=4", GIC="4")
        self.refuse("EL=3", EL="3")
        self.refuse("FIRMWARE", FIRMWARE="tfa")

    def test_gicv2_takes_eight(self):
        self.assertEqual(parse(GIC="2", SMP="8").cpus, 8)

    def test_words_that_mean_nothing(self):
        self.refuse("MACHINE=pc", MACHINE="pc")
        self.refuse("ACCEL=xen", ACCEL="xen")
        self.refuse("SMP=many", SMP="many")
        self.refuse("SMP=2,3", SMP="2,3")
        self.refuse("MEM=0", MEM="0")
        self.refuse("MEM=lots", MEM="lots")
        self.refuse("TIMEOUT=0", TIMEOUT="0")
        self.refuse("TIMEOUT=soon", TIMEOUT="soon")
        self.refuse("ICOUNT=yes", ICOUNT="yes")

    def test_the_hosts_cpu_goes_with_the_hosts_hypervisor(self):
        self.refuse("ACCEL=kvm", ACCEL="kvm", CPU="cortex-a72")
        self.refuse("ACCEL=tcg", CPU="host")
        self.refuse("EL=2", ACCEL="hvf", EL="2")

    def test_the_hosts_cpu_must_be_the_kernels(self):
        with host("x86_64"):
            self.refuse("must be AArch64: this one is x86_64", ACCEL="kvm")
        with host("aarch64"):
            self.refuse("macOS only", ACCEL="hvf")
        with host("arm64", "darwin"):
            self.refuse("Linux only", ACCEL="kvm")

    def test_requests_that_qemu_would_answer_otherwise(self):
        self.refuse("-cpu help", CPU="help")
        self.refuse("MEM=4M: must be 8M or more", MEM="4M")
        self.refuse("QEMU_ARGS=.*No closing quotation", QEMU_ARGS="'unbalanced")

    def test_a_port_is_one(self):
        for text in ("0", "65536", "99999", "-1", "http"):
            self.refuse("GDB_PORT=.*1 to 65535", f"--gdb={text}")

    def test_a_report_goes_to_a_file_that_can_be(self):
        self.refuse("REPORT=-", REPORT="-")
        self.refuse("no directory /no/such/place", REPORT="/no/such/place/r.json")
        self.refuse("is a directory", REPORT=support.SCRIPTS)

    def test_only_a_check_needs_no_image_and_no_qemu(self):
        with self.assertRaisesRegex(options.OptionError, "no image"):
            options.parse([], {"QEMU": "qemu"})
        with mock.patch.object(options.tools, "find_qemu", lambda: None):
            self.assertTrue(options.parse(["--check"], {}).check)
            with self.assertRaisesRegex(options.OptionError, "9 or later"):
                options.parse(["kernel.img"], {})

    def test_load_addresses_that_cannot_be(self):
        self.refuse("page-aligned", "--load-addr", "0x40080800")
        self.refuse("page-aligned", "--load-addr", "0x40000000")
        self.refuse("page-aligned", "--load-addr", "0x1000")

    def test_what_raspi4b_cannot_have(self):
        self.refuse("1 to 4", MACHINE="raspi4b", SMP="5")
        self.refuse("1 to 4", MACHINE="raspi4b", SMP="0")
        self.refuse("1 to 4", MACHINE="raspi4b", SMP="4,cores=2")
        self.refuse("CPU=cortex-a72 only", MACHINE="raspi4b", CPU="max")
        self.refuse("GIC=2 only", MACHINE="raspi4b", GIC="3")
        self.refuse("EL=2 only", MACHINE="raspi4b", EL="1")
        self.refuse("ACCEL=tcg only", MACHINE="raspi4b", ACCEL="kvm")
        self.refuse("FIRMWARE=tfa only", MACHINE="raspi4b", FIRMWARE="uefi")
        for mem in ("4G", "8G", "512M", "3G"):
            self.refuse("MEM=1G or MEM=2G", MACHINE="raspi4b", MEM=mem)
        self.refuse("DTB=missing.dtb", MACHINE="raspi4b", DTB="missing.dtb")
        self.refuse("there must be one", MACHINE="raspi4b", DTB="none", FIRMWARE="tfa")

    def test_what_only_raspi4b_has(self):
        self.refuse("for MACHINE=raspi4b only", FIRMWARE="tfa")
        self.refuse("for MACHINE=raspi4b only", DTB="minimal")


if __name__ == "__main__":
    unittest.main()
