<?php
// A webhook receiver in PHP as the vendor documents it, for `php -S`; the signature is checked over the raw body.
$payload = file_get_contents('php://input');
$event = json_decode($payload, true);
$expected = hash_hmac('sha256', $payload, getenv('MSGINE_WEBHOOK_SECRET'));
header('Content-Type: application/json');
if (!hash_equals($expected, $_SERVER['HTTP_X_MSGINE_SIGNATURE'])) {
    http_response_code(401);
    echo json_encode(['error' => 'Invalid signature']);
    exit;
}
if ($event['event'] === 'message.failed' && !isset($event['failureReason'])) {
    throw new Exception('a failure without a reason');
}
http_response_code(200);
echo json_encode(['received' => true]);
