"""Arenas are not inherited over fork, nor harmed by what the child does."""

import pytest
from crash import PAGE
from support import check, linux_only, needs_lockable, run, x86_or_arm_linux

import secalloc
from secalloc import ForkedError


def test_forked_error_is_a_value_error() -> None:
    assert issubclass(ForkedError, ValueError)
    assert not issubclass(ForkedError, secalloc.WipedError)


def test_inherited_arenas_raise() -> None:
    check("""
        a, large = secret(), secret(200_000)
        view = a[3:9]
        def work():
            raises(secalloc.ForkedError, bytes, memoryview, lambda v: v[0], lambda v: v + b"x",
                   lambda v: v.__setitem__(0, 1), of=view)
            for arena in (a, large):
                assert arena.closed and arena.size == len(arena)
                assert "fork" in repr(arena).lower(), repr(arena)
                raises(secalloc.ForkedError, bytes, memoryview, Arena, secalloc.clear,
                       Arena.clear, Arena.rotate, Arena.check, Arena.__enter__,
                       secalloc.rotate, secalloc.concat, secalloc.take,
                       lambda a: a[0], lambda a: a[0:1], lambda a: a + b"x", lambda a: b"x" + a,
                       lambda a: a.__setitem__(0, 1), lambda a: a.__setitem__(slice(None), SECRET),
                       lambda a: a < b"x", lambda a: a.open("w").__enter__(), lambda a: a.address,
                       lambda a: secalloc.compare_digest(a, b"x"), of=arena)
                assert arena == arena and arena != SECRET and arena != secret()
                assert not secalloc.is_secure(arena)
                arena.close(); arena.close()
                assert arena.closed
            assert secalloc.status().arenas == secalloc.status().bytes == 0
        assert child_of(work) == 0
        assert bytes(a) == raw(a) == SECRET and bytes(view) == SECRET[3:9]
        assert secalloc.status().arenas == 2
    """)


@linux_only
def test_the_address_range_is_reserved_and_inaccessible() -> None:
    check("""
        arenas = [secret(n) for n in (1, 96, 5000, 60_000, 200_000)]
        places = [(x.address, x.size) for x in arenas]
        def permissions(address):
            for line in open("/proc/self/maps"):
                span, how = line.split()[:2]
                low, high = (int(part, 16) for part in span.split("-"))
                if low <= address < high:
                    return how[:3]
        def work():
            for at, size in places:
                for place in (at, at + size - 1):
                    assert not readable(place) and permissions(place) == "---"
            ctypes.string_at(places[1][0], 1)
        assert all(readable(at) and permissions(at) == "rw-" for at, _ in places)
        assert child_of(work) == -11
        assert all(x == secret(x.size) for x in arenas)
    """)


@needs_lockable(16 * PAGE)
def test_the_child_has_arenas_of_its_own() -> None:
    check("""
        a = secret()
        page = a.address // PAGE
        noise = bytearray(64)
        secalloc.clear(noise)
        def work():
            mine = bytearray(64)
            secalloc.clear(mine)
            assert mine != noise, "the child must have noise of its own"
            own = [secret(n) for n in (1, 96, 5000, 60_000, 200_000)]
            assert all(bytes(b) == raw(b) == bytes(secret(b.size)) for b in own)
            assert page not in {b.address // PAGE for b in own}
            own[1].rotate(); own[1].clear(); own[1][:] = SECRET
            assert own[1] == SECRET and secalloc.status().arenas == 5
            assert secalloc.status().handlers[signal.SIGSEGV] == "armed"
            secalloc.set_lockdown_fd(None)
            assert secalloc.lockdown() == 5
            assert all(b.wiped for b in own)
        assert child_of(work) == 0
        assert bytes(a) == raw(a) == SECRET and not a.wiped
        assert secalloc.status().lockdowns == 0
    """)


@pytest.mark.parametrize(("own", "marker"), [("b = secret(500)", [b"F"]), ("", [b"", b"F"])])
def test_a_child_that_crashes_touches_nothing_of_the_parent(own: str, marker: list[bytes]) -> None:
    end = run(f"""
        arenas = [secret(n) for n in (1, 96, 5000, 200_000)]
        def work():
            {own}
            fault("segv")
        assert child_of(work) == -11
        assert all(raw(x) == bytes(x) == bytes(secret(x.size)) for x in arenas)
    """)
    assert end.code == 0, end
    assert end.marker in marker


def test_a_child_that_crashes_wipes_its_own() -> None:
    """A Python handler, to which ours hands over, is what sees it."""
    end = run("""
        def work():
            b = secret(500)
            def look(*_):
                os._exit(42 if b.wiped and SECRET[:8] not in raw(b) else 43)
            secalloc.disarm()
            signal.signal(signal.SIGABRT, look)
            secalloc.arm()
            os.kill(os.getpid(), signal.SIGABRT)
            time.sleep(30)
        a = secret()
        assert child_of(work) == 42
        assert bytes(a) == raw(a) == SECRET
    """)
    assert end.fate == (0, b"F"), end


def test_a_lockdown_in_the_parent_does_not_reach_the_child() -> None:
    end = run("""
        a = secret()
        ready, go = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            b = secret()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0 if bytes(b) == raw(b) == SECRET else 1)
        os.read(ready[0], 1)
        assert secalloc.lockdown() == 1
        os.write(go[1], b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)
    assert end.fate == (0, b"L"), end


def test_generations() -> None:
    check("""
        a = secret()
        def third():
            assert a.closed and b.closed
            c = secret(); assert bytes(c) == SECRET
        def second():
            global b
            assert a.closed
            b = secret()
            assert child_of(third) == 0
            assert bytes(b) == raw(b) == SECRET
            b.close(); assert b.closed
        assert child_of(second) == 0
        assert bytes(a) == SECRET
    """)


def test_exports_and_blocks_open_across_fork() -> None:
    check("""
        a, b = secret(), secret()
        export = memoryview(a)
        block = b.open("w")
        view = block.__enter__()
        view[:] = SECRET
        def work():
            export.release()
            a.close()
            try:
                block.__exit__(None, None, None)
            except ValueError:
                pass
            assert b.closed
            b.close()
        assert child_of(work) == 0
        block.__exit__(None, None, None)
        assert bytes(b) == bytes(export) == SECRET
        export.release()
        a.rotate()
        assert bytes(a) == SECRET
    """)


def test_a_child_may_exit_normally() -> None:
    check("""
        a = secret()
        pid = os.fork()
        if pid == 0:
            b = secret()
            del a
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        assert bytes(a) == raw(a) == SECRET
    """)


def test_fork_before_first_use() -> None:
    end = run("""
        def work():
            a = secret(); assert bytes(a) == SECRET
            fault("segv")
        assert child_of(work) == -11
        a = secret()
        assert bytes(a) == SECRET
    """)
    assert end.fate == (0, b"F"), end


@needs_lockable(1 << 20)
def test_fork_while_other_threads_make_and_close() -> None:
    check("""
        def churn():
            b = secret(300); c = secret(70_000)
            b.rotate(); b.clear(); c.close(); secalloc.rekey()
        keep = secret()
        def work():
            own = [secret(n) for n in (1, 5000, 100_000)]
            own[1].rotate(); own[0].close(); secalloc.rekey()
            assert bytes(own[1]) == raw(own[1])
            secalloc.set_lockdown_fd(None)
            assert secalloc.lockdown() == 2
        codes = forked_beside(churn, work)
        assert codes == [0] * 40, codes
        assert bytes(keep) == raw(keep) == SECRET
    """)


def test_fork_on_a_thread_while_others_make_and_close() -> None:
    check("""
        stop = False
        def churn():
            while not stop:
                with secret(300) as b, secalloc.Pool() as pool:
                    pool.take(bytearray(SECRET)); b.rotate()
        threads = [threading.Thread(target=churn) for _ in range(2)]
        for t in threads: t.start()
        keep = secret()
        def crash():
            own = secret()
            fault("segv")
        def lock_down():
            own = secret()
            secalloc.set_lockdown_fd(None)
            assert secalloc.lockdown() == 1 and own.wiped
        codes = []
        def forks():
            warnings.simplefilter("ignore", DeprecationWarning)
            for _ in range(10):
                codes.append((child_of(crash), child_of(lock_down)))
        secalloc.set_lockdown_fd(None)
        on_thread(forks)
        stop = True
        for t in threads: t.join()
        assert codes == [(-11, 0)] * 10, codes
        assert bytes(keep) == raw(keep) == SECRET
    """)


@pytest.mark.parametrize("way", ["subprocess", "posix_spawn"])
def test_programs_started_without_fork(way: str) -> None:
    """By vfork or clone, sharing our memory until they are a program of their own."""
    check(f"""
        import subprocess
        stop, kept = False, []
        def churn():
            while not stop:
                with secret(300) as b:
                    b.rotate()
        thread = threading.Thread(target=churn, daemon=True)
        keep, armed = [secret(n) for n in (1, 96, 200_000)], secalloc.status().handlers
        thread.start()
        def start(program, *arguments):
            if {way!r} == "subprocess":
                kept.append(subprocess.Popen([program, *arguments]))  # else it waits itself
                return kept[-1].pid
            return os.posix_spawn(program, [program, *arguments], {{}})
        for turn in range(15):
            assert os.waitpid(start("/bin/sh", "-c", "exit 7"), 0)[1] == 7 << 8
            assert os.waitpid(start("/bin/sh", "-c", "kill -11 $$"), 0)[1] & 0x7F == 11
            raises(FileNotFoundError, start, of="/nowhere")
            pid = start("/bin/sleep", "30")
            os.kill(pid, signal.SIGTERM)
            assert os.waitpid(pid, 0)[1] == 15
        stop = True
        thread.join()
        for child in kept: child.returncode = 0
        assert all(raw(k) == bytes(k) == bytes(secret(k.size)) for k in keep)
        assert secalloc.status().handlers == armed
    """)


@linux_only
def test_no_mapping_survives_exec() -> None:
    check("""
        arenas = [secret(n) for n in (1, 96, 5000, 200_000)]
        locked = "secretmem" if Protection.SECRETMEM in arenas[0].protection else "[stack]"
        assert locked in open("/proc/self/maps").read()
        look = ("print(open('/proc/self/maps').read().count('secretmem'),"
                "[l for l in open('/proc/self/status') if l.startswith('VmLck')])")
        os.execv(sys.executable, [sys.executable, "-I", "-c",
                 look + "; import os; os._exit('secretmem' in open('/proc/self/maps').read())"])
    """)


@x86_or_arm_linux
@pytest.mark.parametrize("number", [11, 6, 15])
def test_a_raw_clone_that_runs_no_handlers(number: int) -> None:
    """Nothing faults inside the handler, and the parent's arenas stay whole."""
    check(f"""
        arenas = [secret(n) for n in (1, 96, 5000, 200_000)]
        def fall():
            os.kill(os.getpid(), {number})
            time.sleep(30)
        assert child_of(fall, fork=raw_fork) == -{number}
        def use():
            for arena in arenas:
                raises(secalloc.ForkedError, bytes, of=arena)
                arena.close()
        assert child_of(use, fork=raw_fork) == 0
        assert all(raw(x) == bytes(x) == bytes(secret(x.size)) for x in arenas)
    """)


def test_multiprocessing_with_fork() -> None:
    check("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        a = secret()
        def work(queue):
            assert a.closed
            queue.put(bytes(secret()))
        queue = context.SimpleQueue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        assert queue.get() == SECRET
        process.join()
        assert process.exitcode == 0
        assert bytes(a) == raw(a) == SECRET
    """)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing_passes_no_arena(method: str) -> None:
    check(f"""
        import multiprocessing
        context = multiprocessing.get_context({method!r})
        a = secret()
        with context.Pool(1) as pool:
            assert pool.apply(len, (SECRET,)) == len(SECRET)
            raises(TypeError, lambda a: pool.apply(len, (a,)), of=a)
        assert bytes(a) == raw(a) == SECRET
    """)


@linux_only
def test_no_descriptor_survives_exec() -> None:
    check("""
        import subprocess
        def inherited():
            look = "import os; print(*os.listdir('/proc/self/fd'))"
            return set(subprocess.run([sys.executable, "-I", "-c", look], close_fds=False,
                                      capture_output=True, text=True, check=True).stdout.split())
        before = inherited()
        a, b = secret(), secret(200_000)
        assert inherited() == before
        os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
        assert len(inherited()) == len(before) + 1  # or this sees nothing
    """)


@pytest.mark.parametrize("kind", ["its own pages", "pooled", "large"])
@pytest.mark.parametrize("makes", [0, 40])
def test_a_child_releases_what_its_parent_exported(kind: str, makes: int) -> None:
    """With a block open at the fork, so that the last release would close the pages."""
    check(
        f"""
        pool = secalloc.Pool()
        arena = {{"its own pages": secret, "large": lambda: secret(1 << 20),
                  "pooled": lambda: pool.alloc(SECRET)}}[{kind!r}]()
        held = memoryview(arena)
        with (pool if arena.pool else arena).open("r"):
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                own = [secret() for _ in range({makes})]
                held.release()
                assert all(mine == SECRET for mine in own)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            held.release()
        assert arena[:96] == SECRET
        """
    )


def test_a_child_ends_blocks_of_what_its_parent_closed() -> None:
    """The parent's list of blocks is gone in the child, whatever became of their arenas."""
    check(
        """
        arenas = [secret() for _ in range(600)]
        blocks = [arena.open("r") for arena in arenas]
        for block in blocks:
            block.__enter__()
        for arena in arenas[::2]:
            arena.close()
        pid = os.fork()
        if pid == 0:
            while blocks:
                try:
                    blocks.pop().__exit__(None, None, None)
                except secalloc.WipedError:
                    pass
            for _ in range(2000):
                own = secret()
                with own.open("r") as view:
                    assert bytes(view) == SECRET
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )
