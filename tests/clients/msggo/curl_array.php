<?php
// The documented PHP curl sample (T15): an array becomes multipart/form-data. Contract: ../README.md
require __DIR__ . '/cases.php';

// POST
$apiKey = $key;
$ch = curl_init("$url/inbox");
curl_setopt($ch, CURLOPT_POST, true);
curl_setopt($ch, CURLOPT_POSTFIELDS, [
    'msggo-key' => $apiKey,
    'event' => 'your-event-name'
]);
// Not in the sample, which prints the answer: here it is checked.
curl_setopt($ch, CURLOPT_RETURNTRANSFER, true);
$response = curl_exec($ch);
if (curl_errno($ch)) {
    // Handle the error
    echo 'Curl error: ' . curl_error($ch);
}
report('T15', curl_getinfo($ch, CURLINFO_RESPONSE_CODE), json_decode((string) $response, true), ['event' => 'your-event-name'], 200, $ok);
curl_close($ch);

exit($failed ? 1 : 0);
