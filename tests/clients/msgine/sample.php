<?php
// The documented PHP sample: as printed, where it sets no body and so makes a GET (C7), and completed with a JSON body (C8).
function ask(string $case, bool $complete): void
{
    $call = curl_init(getenv('POSTHASTE_URL') . '/api/v1/messages/sms');
    curl_setopt($call, CURLOPT_RETURNTRANSFER, true);
    curl_setopt($call, CURLOPT_HTTPHEADER, [
        'Authorization: Bearer ' . getenv('POSTHASTE_KEY'),
        'Content-Type: application/json',
    ]);
    if ($complete) {
        curl_setopt($call, CURLOPT_POST, true);
        curl_setopt($call, CURLOPT_POSTFIELDS, json_encode(['to' => '+256701521269', 'message' => 'Grüße https://example.com/']));
    }
    $body = json_decode(curl_exec($call), true, 512, JSON_THROW_ON_ERROR);
    echo json_encode(['case' => $case, 'status' => curl_getinfo($call, CURLINFO_HTTP_CODE), 'body' => $body]), "\n";
}

ask('C7', false);
ask('C8', true);
