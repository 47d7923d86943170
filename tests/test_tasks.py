def test_x(lora_run):
    import subprocess

    print(subprocess.run(["find", str(lora_run)], capture_output=True, text=True).stdout)
    assert 0
