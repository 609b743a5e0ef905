<?php
// Shared by the PHP clients: environment and the JSON line of a case.
$url = getenv('POSTHASTE_URL');
$key = getenv('POSTHASTE_KEY');
$ok = ['ok' => true, 'statusCode' => 200];
$failed = false;

function report(string $name, int $status, mixed $body, ?array $event, int $wantStatus, mixed $wantBody): void
{
    global $failed;
    $line = ['case' => $name, 'status' => $status];
    if ($event !== null) {
        $line['event'] = $event;
    }
    echo json_encode($line, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE), "\n";
    if ($status !== $wantStatus || $body !== $wantBody) {
        fwrite(STDERR, "$name: $status " . json_encode($body) . " instead of $wantStatus " . json_encode($wantBody) . "\n");
        $failed = true;
    }
}
